# Each target sets up what it needs in .venv; only Python 3.11 or newer and make are assumed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test faults check audit docs wheel dist from-wheel clean

help:
	@echo "make demo    analyse the three sample clips"
	@echo "make test    run the tests"
	@echo "make faults  run every case of the fault corpus"
	@echo "make check   run the linters and the type checker"
	@echo "make audit   look for packages with known weaknesses"
	@echo "make docs    build the site, in build/site"
	@echo "make wheel   build dist/*.whl with its bill of materials"
	@echo "make dist    the same, and the source distribution, checked for the index"
	@echo "make from-wheel  try both as a stranger would, each in an empty environment"
	@echo "make clean   remove .venv and caches"

demo: $(VENV)/.base
	$(BIN)/facevoice analyze examples/smile_glad_voice.mp4 examples/smile_frightened_voice.mp4 \
	    examples/smile_plain_voice.mp4

# By two processes, a file of tests in one of them: most of the time one waits for what it started.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

faults: $(VENV)/.dev
	FACEVOICE_FAULTS=all $(BIN)/python -m pytest tests/faults

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(VENV)/.dev
	.ci/audit $(BIN)/python

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html; to search, too: $(BIN)/python -m http.server -d build/site"

# pip's report says what an installation would bring: the bill of materials is made from it.
wheel: $(VENV)/.made
	@mkdir -p build
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	$(PIP) install --quiet --dry-run --ignore-installed --report build/resolved.json .
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .
	@rm -f build/resolved.json

dist: wheel
	$(PIP) install --quiet 'build>=1.2' 'twine>=6'
	$(BIN)/python -m build --sdist --outdir dist .
	$(BIN)/twine check --strict dist/*

from-wheel: dist
	.ci/from_wheel $(abspath $(BIN)/python)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "facevoice needs Python 3.11 or newer; choose one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.base: $(VENV)/.made pyproject.toml
	$(PIP) install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	$(PIP) install --quiet --editable '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.made pyproject.toml
	$(PIP) install --quiet --editable '.[docs]'
	@touch $@
