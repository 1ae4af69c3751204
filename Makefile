# Two commands matter: `make run` (a fresh machine -> the demo in a browser), `make test` (a fresh machine -> all tests).
# Everything is made once and again only when what it is made from has changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
# Node, npm and npx of the virtual environment, whatever the machine has.
NODE_PATH_FIRST := PATH="$(CURDIR)/$(BIN):$$PATH"

FRONTEND := viewer/frontend
DIST := viewer/static/dist/viewer.js
FRONTEND_SOURCES := $(shell find $(FRONTEND) -type f -not -path '*/node_modules/*' -not -path '*/.*' 2>/dev/null)

# The peers the tests talk to: DCMTK, Orthanc, a browser, a PDF reader.
TEST_PACKAGES := dcmtk orthanc orthanc-dicomweb chromium poppler-utils

.PHONY: help setup run test check bench deid-report docs clean

help: ## Show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 20

setup: $(VENV)/.installed $(DIST) ## Make .venv with consilium in it, and the viewer's front end

run: setup ## Start the demonstration: two hospitals, a centre, real studies, a browser page
	CONSILIUM_HOME="$${CONSILIUM_HOME:-$(CURDIR)/.consilium}" $(BIN)/consilium demo

test: setup $(VENV)/.test-installed ## Run every test, with real peers
	@.ci/debian-packages $(TEST_PACKAGES)
	$(BIN)/pytest -n auto --dist loadfile $(PYTEST_ARGS)

check: setup $(VENV)/.test-installed ## Lint, types and unit tests, in about a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd $(FRONTEND) && $(NODE_PATH_FIRST) npm run --silent typecheck
	cd $(FRONTEND) && $(NODE_PATH_FIRST) npm run --silent test
	$(BIN)/pytest -q -n auto --dist loadfile -m "not integration and not browser and not slow" $(PYTEST_ARGS)

bench: setup $(VENV)/.test-installed ## Measure, and print the comparisons
	@.ci/debian-packages dcmtk orthanc orthanc-dicomweb
	$(PY) -m tests.bench

deid-report: setup $(VENV)/.test-installed ## Score de-identification beside other tools, and print the table
	@.ci/debian-packages orthanc
	@$(PY) -W ignore -m tests.deidentify.report

docs: $(VENV)/.installed ## Write the generated pages of docs/ again
	$(BIN)/consilium settings --markdown > docs/settings.md
	$(PY) -m gateway.deidentify.describe > docs/deidentification.md

clean: ## Remove what was made; .venv and .consilium stay
	rm -rf viewer/static/dist $(FRONTEND)/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis build

$(VENV)/bin/pip:
	.ci/venv $(VENV) $(PYTHON)

$(VENV)/.installed: setup.cfg pyproject.toml | $(VENV)/bin/pip
	PYTHONWARNINGS=ignore $(PY) -m pip install --quiet --disable-pip-version-check -e '.[build,demo]'
	@touch $@

$(VENV)/.test-installed: setup.cfg pyproject.toml $(VENV)/.installed
	PYTHONWARNINGS=ignore $(PY) -m pip install --quiet --disable-pip-version-check -e '.[build,test]'
	@touch $@

$(FRONTEND)/node_modules/.installed: $(FRONTEND)/package.json $(FRONTEND)/package-lock.json $(VENV)/.installed
	cd $(FRONTEND) && $(NODE_PATH_FIRST) npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(DIST): $(FRONTEND)/node_modules/.installed $(FRONTEND_SOURCES)
	cd $(FRONTEND) && $(NODE_PATH_FIRST) npm run --silent build
	@test -s $@ && touch $@

