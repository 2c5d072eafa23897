# Two commands from a fresh clone, with Python >= 3.11, a C compiler and make:
#   make train    trains a network on real handwritten digits
#   make test     checks the whole project
#   make docs     builds the book, docs/_build/index.html
#   make sanitize runs the C kernels under the address and undefined-behaviour sanitizers
# All work in a private environment, .venv, which `make clean` takes away again. Another Python: make train PYTHON=python3.13

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py $(wildcard csrc/*)

.PHONY: train test docs sanitize clean

train: $(VENV)/installed
	$(BIN)/tinyconv train

test: $(VENV)/checkable
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest -q -m "not sweep"

docs: $(VENV)/documentable
	$(BIN)/sphinx-build -W --keep-going -q -d docs/_build/.doctrees docs docs/_build

sanitize: $(VENV)/checkable
	$(BIN)/pytest -q -m sweep tests/test_sanitize.py

# installed where it stands: an edit of a .py file is seen at once, the C part is built again when its sources change
$(VENV)/installed: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[plot]'
	touch $@

$(VENV)/checkable: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[plot,test]'
	touch $@ $(VENV)/installed

$(VENV)/documentable: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@ $(VENV)/installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tinyconv needs Python 3.11 or later, $(PYTHON) is `$(PYTHON) -V 2>&1`: try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build docs/_build docs/_pictures *.egg-info tinyconv/kernels/_aot.*.so csrc/_aot.c
