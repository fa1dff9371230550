# Everything runs in .venv, which the first target that needs it creates from requirements.lock.
# Needed beforehand: make, and Python 3.11 or newer (PYTHON=/path/to/python to choose one).

SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet
CODE := broker iot_agents subscribers smart_data_models rigel tests bench
STYLE_STATS := ../shared/tools/style_stats.py

.DEFAULT_GOAL := help
.PHONY: help run demo up test system lint fix check docs bench stats lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## start everything, replay the demonstration city, stay up until Ctrl-C
	@$(BIN)/rigel demo

demo: $(VENV)/run.stamp ## the same, but end after the summary; fails when something got lost
	@$(BIN)/rigel demo --exit

up: $(VENV)/run.stamp ## start everything without the replay
	@$(BIN)/rigel up

test: $(VENV)/dev.stamp ## run the tests (all but those marked system or benchmark)
	@$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

system: $(VENV)/dev.stamp ## run the tests that kill, restart and replay whole processes
	@$(BIN)/python -m pytest -m system tests/system

lint: $(VENV)/dev.stamp ## check format, ruff, types and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/dev.stamp ## write docs/reference from the code; `make check` fails when it is behind
	@$(BIN)/python -m rigel.reference docs/reference

check: lint test system ## all that CI checks; the documentation is checked by the tests

fix: $(VENV)/dev.stamp ## format and repair what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/dev.stamp ## measure against the numbers the design sets; never fails for being slow
	@$(BIN)/python -m bench

stats: $(VENV)/run.stamp ## print the style table's column for this project
	@if [ -f $(STYLE_STATS) ]; then \
		$(BIN)/python $(STYLE_STATS) rigel=.:broker,iot_agents,subscribers,smart_data_models,rigel; \
	else \
		echo "make stats: $(STYLE_STATS) is not there; it is not part of this repository" >&2; exit 1; \
	fi

lock: ## write requirements.lock anew from the newest versions pyproject.toml allows
	@$(call find_python) && "$$python" -m venv --clear $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip install --quiet --upgrade pip
	@$(VENV)-lock/bin/python -m pip install --quiet hatchling --group dev --editable .
	@{ head -2 requirements.lock; $(VENV)-lock/bin/python -m pip freeze --all --exclude-editable \
		| grep -v -i '^setuptools==' \
		| sed 's/^uvloop==.*/& ; sys_platform != "win32"/'; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock
	@rm -rf $(VENV)-lock

clean: ## remove the environment and all caches (data in rigel-data is kept)
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov dist

$(VENV)/run.stamp: pyproject.toml requirements.lock
	@echo "Preparing $(VENV) (about a minute, once) ..."
	@$(call find_python) && "$$python" -m venv $(VENV)
	@$(PIP_INSTALL) --constraint requirements.lock pip
	@$(PIP_INSTALL) --constraint requirements.lock --build-constraint requirements.lock --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@echo "Adding the test and lint tools to $(VENV) ..."
	@$(PIP_INSTALL) --constraint requirements.lock --group dev
	@touch $@

# A shim of a version manager may exist and not run, so each candidate is tried.
define find_python
for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && break; \
	python=; \
done; \
if [ -z "$$python" ]; then echo "make: Python 3.11 or newer is needed; set PYTHON=/path/to/python3" >&2; exit 1; fi; \
if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	echo "make: $$python lacks the venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; fi
endef
