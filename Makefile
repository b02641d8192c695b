# Every target makes what it needs: its own environment in .venv, nothing global.
# The stamps in .venv are older than setup.cfg or constraints.txt when something has to be installed again.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CHECKED := gems_gym gems_gym_agents
# `make test CONSTRAINTS=` installs the newest versions that setup.cfg allows.
CONSTRAINTS := -c constraints.txt

.PHONY: help quickstart test test-slow coverage lint types format benchmark docs docs-links installs libraries clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1  \2/p' $(MAKEFILE_LIST) | column -t -l 3 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1: \2/p' $(MAKEFILE_LIST)

quickstart: $(VENV)/.installed-all ## log, pretrain, train, collect, learn offline, evaluate: the pipeline once
	$(BIN)/gems-gym quickstart

test: $(VENV)/.installed-dev ## every test but the slow ones, on two processes
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.installed-dev ## the slow tests: killed commands, corrupt files, the quickstart's table
	$(BIN)/python -m pytest -n 2 -m slow

coverage: $(VENV)/.installed-dev ## which lines the tests of `make test` run
	$(BIN)/python -m pytest -n 2 -m "not slow" --cov --cov-report=term:skip-covered

lint: $(VENV)/.installed-dev ## style, likely mistakes, and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(VENV)/.installed-dev ## type hints
	$(BIN)/mypy $(CHECKED)

format: $(VENV)/.installed-dev ## rewrite the files in the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/.installed-dev ## speed of the hot paths
	$(BIN)/python -m pytest -n 0 -o python_functions="bench_*" tests/benchmarks/bench_*.py

docs: $(VENV)/.installed-dev ## the site, in docs/_build; a warning is an error
	rm -rf docs/_build
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

docs-links: $(VENV)/.installed-dev ## which links to other sites lead nowhere; needs the internet
	$(BIN)/python -m sphinx -q -b linkcheck docs docs/_build/links

installs: $(BIN)/python ## source archive, wheel, and the wheel with each extra, in fresh environments
	$(BIN)/python .ci/fresh_environments.py $(CONSTRAINTS) extras $(EXTRAS)

libraries: $(BIN)/python ## the scripts of examples/libraries, each in a fresh environment; SCRIPTS="sb3_sac" for some
	$(BIN)/python .ci/fresh_environments.py libraries $(SCRIPTS)

clean: ## remove the environment, the builds and the caches, but not runs/
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage htmlcov docs/_build docs/generated
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A name on the path proves nothing (version managers leave shims): each candidate has to run and tell its version.
$(BIN)/python:
	@for python in python3.11 python3.12 python3.13 python3; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			echo "Making $(VENV) with $$("$$python" -V)."; \
			"$$python" -m venv $(VENV) && exit 0; \
			echo "Python's venv module failed (on Debian: install python3-venv); it is needed to make $(VENV)." >&2; \
			rm -rf $(VENV); \
			exit 1; \
		fi; \
	done; \
	echo "gems-gym requires Python 3.11 or newer: none of python3.11, python3.12, python3.13, python3 is one." >&2; \
	exit 1

$(VENV)/.installed-all: setup.cfg constraints.txt | $(BIN)/python
	@echo "Installing gems-gym and what it needs into $(VENV): a minute or two, more on a slow line."
	$(PIP) install --quiet $(CONSTRAINTS) -e '.[all]'
	@touch $@

# dev holds all, so both stamps are written.
$(VENV)/.installed-dev: setup.cfg constraints.txt | $(BIN)/python
	@echo "Installing gems-gym, what it needs and the developers' tools into $(VENV): a minute or two."
	$(PIP) install --quiet $(CONSTRAINTS) -e '.[dev]'
	@touch $(VENV)/.installed-all $@
