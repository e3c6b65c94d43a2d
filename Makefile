# Every target works from a bare clone. `make` alone says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
BIN := .venv/bin
STAMP := .venv/.setup-done
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip

.PHONY: help setup run test quick check format bench servers constraints clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## .venv with everything, at the versions in constraints.txt

# The stamp makes a second run free. It is renewed when what is to be installed changes.
$(STAMP): pyproject.toml constraints.txt
	@.ci/python "$(PYTHON)"
	@$(BIN)/python -c "import pip" 2>/dev/null || "$(PYTHON)" -m venv --clear .venv
	$(PIP) install --quiet --require-hashes --requirement constraints.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: setup ## the demo on this machine: broker, agent, collector, page
	$(BIN)/nagari demo

test: setup servers ## the whole suite, against a real broker and browser
	$(BIN)/pytest --numprocesses 2 --dist loadfile --durations 15 --durations-min 5

quick: setup ## the unit tests that need no server: while you work
	$(BIN)/pytest --numprocesses 2 --dist loadfile tests/unit --ignore tests/unit/test_cli_demo.py --ignore tests/unit/test_storage_years.py

check: setup ## style, types, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup servers ## the figures, as a table and as JSON
	$(BIN)/python -m tests.bench

servers: ## mosquitto, chromium, strace, openssl, victoria-metrics, restic for the tests: from Debian's packages, or says what is missing
	@.ci/servers

constraints: setup ## write constraints.txt anew from what is installed
	@.ci/constraints > constraints.new && mv constraints.new constraints.txt && touch $(STAMP)

clean: ## away with .venv and caches (data stays)
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
