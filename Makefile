# Two commands on a fresh machine: `make demo` and `make test`. Each does all the set-up that it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two processes with a thread each: two with two threads each would wait for one another on two cores.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
READY := $(VENV)/.ready

export DAGSTER_HOME := $(CURDIR)
export EHR_STATE_DIR ?= $(CURDIR)/data/dagster

.PHONY: demo test test-all ui docs lint audit format clean

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, as PYTHON=python3.11 for example")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@mkdir -p $(EHR_STATE_DIR) && touch $(READY)

demo: $(READY)  ## the whole chain on the embedded demo; the last line says where the report is
	$(BIN)/ehr-pipeline demo

test: $(READY)  ## the tests that are quick, in minutes; EHR_BFLOAT16=on or off has precision = "auto" come to bfloat16 or float32
	$(TESTS) -m "not slow"

test-all: $(READY)  ## every test, those that start servers, kill processes or run whole chains again as well: what CI runs
	$(TESTS)

ui: $(READY)  ## the Dagster UI at http://127.0.0.1:3000
	$(BIN)/ehr-pipeline ui

docs: $(READY)  ## the docs site in build/site: open build/site/index.html; with the demo's report and tutorial after `make demo`
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	# Not --quiet, which hides the warnings that --strict counts.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "docs: $(CURDIR)/build/site/index.html"

lint: $(READY)  ## style, types, and that stages import only earlier stages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

audit: $(READY)  ## known vulnerabilities of the tested versions and of what they bring; exceptions with their reasons stand in .ci/audit
	$(BIN)/python .ci/audit

format: $(READY)  ## put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and the demo's artifacts
	rm -rf $(VENV) data/studies/demo data/dagster
