# make demo   set everything up and tell the whole story on the embedded default (no key, no network but packages)
# make test   set everything up and run the tests
# make lab    set everything up and open the notebooks in JupyterLab
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e

.PHONY: demo test lab clean

demo: $(VENV)/.demo
	$(BIN)/chunkykit run --profile workshop --out runs/demo --restart

test: $(VENV)/.test
	$(BIN)/python -m pytest

lab: $(VENV)/.lab
	cd notebooks && ../$(BIN)/jupyter lab 00_tour.ipynb

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "chunkykit needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) ".[png]"
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) ".[png,test]"
	@touch $@

$(VENV)/.lab: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) ".[png,lab]"
	@touch $@

clean:
	rm -rf $(VENV) runs
