# `make demo` and `make test` need Python 3.11 (or 3.12) and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test lint format lock clean

help:  ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*##/ {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## Train, compare, deploy and ask a policy, in a few minutes
	@$(BIN)/lwmecps demo

test: lint  ## Run every check that CI runs
	$(BIN)/pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-test  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 13) else f"lwmecps-gym needs Python 3.11 or 3.12, {sys.executable} is {v[0]}.{v[1]}; try: make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || { echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing pinned packages (Ray, PyTorch, ...) into $(VENV); the first time takes a minute or two"
	@$(PIP) install --constraint requirements.lock --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "installing the test tools"
	@$(PIP) install --constraint requirements.lock --editable '.[test]'
	@touch $@

lock:  ## Pin the newest allowed versions anew
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --editable '.[test]'
	$(VENV)-lock/bin/pip freeze --exclude-editable --exclude lwmecps-gym | sed 's/+cpu//' > requirements.lock
	rm -rf $(VENV)-lock

clean:  ## Remove what make made
	rm -rf $(VENV) demo-output
