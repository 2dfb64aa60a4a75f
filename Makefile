# Every target makes the virtual environment that it needs; PYTHON=… picks the interpreter for it.

VENV := .venv
RUN := $(VENV)/bin/python
PYTHON ?=
# Tests mostly wait for processes, so more of them run at once than there are processors; 0 is one after the other.
TESTS_AT_ONCE ?= 4
# What test-frameworks runs.
FRAMEWORKS ?= tests/frameworks tests/testing/test_django.py

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help venv test test-long test-postgres test-browser test-frameworks test-editors screenshots test-monitoring test-faults fuzz lint format check demo bench bench-peers binary test-binary clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

venv: ## make .venv with everything for development; does nothing when that is in order
	@PYTHON='$(PYTHON)' sh scripts/set_up.sh $(VENV)

test: venv ## run the tests, except those of the single file
	@$(RUN) -m pytest -n $(TESTS_AT_ONCE) --dist loadfile

test-postgres: venv ## run the tests of the store, of projects and of faults on a throw-away PostgreSQL server
	@$(RUN) -m pytest -m 'postgres and not browser' -n $(TESTS_AT_ONCE) --dist loadfile

test-long: venv ## run the modules that take long: faults of disks, clocks, processes and power, many folders, templates, rescue
	@$(RUN) -m pytest -m 'long and not postgres' -n $(TESTS_AT_ONCE) --dist loadfile

test-browser: venv ## run the tests of the dashboard in a real browser; installs playwright, and uses Debian's chromium
	@$(RUN) -c 'import axe_playwright_python, playwright' 2>/dev/null || $(RUN) -m pip install -qq --disable-pip-version-check --no-input --editable '.[dev,browser]'
	@$(RUN) -m pytest -m browser tests/browser

test-editors: venv ## check the schema with taplo, and the types of the installed wheel with mypy and pyright; needs npm
	@test -x $(VENV)/npm/node_modules/.bin/pyright || npm install --silent --no-fund --no-audit --prefix $(VENV)/npm @taplo/cli pyright
	@$(RUN) -m pytest -m editors tests/editors

test-frameworks: venv ## run the tests and examples of the web frameworks; installs those
	@$(RUN) -c 'import apscheduler, celery, django, fakeredis, fastapi, flask, httpx2, huey, litestar, rq, sqlalchemy' 2>/dev/null || $(RUN) -m pip install -qq --disable-pip-version-check --no-input --editable '.[dev,frameworks]'
	@$(RUN) -m pytest -m 'frameworks and not postgres' -n 2 --dist loadfile $(FRAMEWORKS)

test-monitoring: venv ## check the metrics, the alert rules and the Grafana dashboard, with promtool where that is installed
	@$(RUN) -m pytest -rs tests/docs/test_monitoring_files.py tests/docs/test_monitoring_page.py tests/integration/test_monitor.py

screenshots: venv ## make the pictures of docs/dashboard again, in Debian's chromium
	@$(RUN) -c 'import playwright' 2>/dev/null || $(RUN) -m pip install -qq --disable-pip-version-check --no-input --editable '.[dev,browser]'
	@$(RUN) scripts/screenshots.py

test-faults: venv ## kill and freeze everything, die at every named point, then big faults; ARGS="--seconds 20 --seed 1" replays
	@$(RUN) -m tests.faults.chaos $(ARGS)
	@$(RUN) -m tests.faults.chaos --postgres $(ARGS)
	@$(RUN) -m tests.faults.deaths $(ARGS)
	@FAULTS=full $(RUN) -m pytest -m full -n 2 --dist worksteal --timeout 600 -rA

fuzz: venv ## feed the decoder of clients' requests by atheris for a minute; ARGS="--seconds 600" takes longer
	@$(RUN) -m tests.fuzz $(ARGS)

lint: venv ## check style, format, types and layers
	@$(RUN) -m ruff check --quiet
	@$(RUN) -m ruff format --check --quiet
	@$(RUN) -m mypy tako_lite pytest_tako_lite.py scripts bench
	@$(VENV)/bin/lint-imports --no-logo

format: venv ## put imports and code into their form
	@$(RUN) -m ruff check --quiet --select I --fix
	@$(RUN) -m ruff format --quiet

check: lint test test-long ## the whole gate: lint, then all tests that need nothing but Python

demo: venv ## run the example shop
	@$(RUN) -m examples.shop.demo

bench: venv ## measure everything against the ceiling of this machine; ARGS="--quick drain" narrows it
	@$(RUN) -m bench $(ARGS)

bench-peers: venv ## run the same work through Huey, DBOS and others beside tako-lite; ARGS as above
	@$(RUN) -m bench.peers $(ARGS)

binary: venv ## build dist/tako-lite.pyz, then test it
	@$(RUN) scripts/build_binary.py
	@$(RUN) -m pytest -m binary tests/binary

test-binary: venv ## test the dist/tako-lite.pyz that is there
	@$(RUN) -m pytest -m binary tests/binary

clean: ## remove everything that was made, .venv too
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
