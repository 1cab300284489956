# Two commands are all a newcomer needs: `make demo` and `make test`.
# Each builds .venv from nothing but python3, pip and the package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test soak docs lint types layers fresh generate format clean

help:
	@echo "make demo      ten seconds of a bot at work, with a local Feishu: no account, no network"
	@echo "make test      the whole test suite; a part of it: make test ARGS=tests/wire"
	@echo "make soak      its storms at full length: faults, kills, losses of power; half an hour"
	@echo "make docs      the site of the documentation, in build/site"
	@echo "make lint      ruff, mypy --strict, the layers of imports, and that generated code is fresh"
	@echo "make format    ruff's formatter and import order"
	@echo "make generate  models and frames anew, from proto/"
	@echo "make clean     remove what the others made"
	@echo "They set up .venv by themselves, from $(PYTHON) and the package registry; PYTHON=python3.13 is another."

# Its end by Ctrl-C, 130, is none that make has to complain of.
demo: $(VENV)/.demo
	@trap : INT; $(BIN)/feishu-trio demo || [ $$? -eq 130 ]

# Two processes: many tests wait for real servers and real time, but some count on a core of their own.
test: $(VENV)/.dev
	@$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(ARGS)

soak: $(VENV)/.dev
	@$(BIN)/python -m pytest --soak tests/liveness/test_soak.py tests/inbox/test_kill.py tests/inbox/test_power.py tests/inbox/test_redis_storm.py tests/inbox/test_redis_model.py $(ARGS)

docs: $(VENV)/.docs
	@$(BIN)/python docs/build.py

lint: types layers fresh
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

# The classifiers promise any system, so the types hold on each; the tests and benchmarks are for Linux.
types: $(VENV)/.dev
	@$(BIN)/mypy
	@for system in win32 darwin; do $(BIN)/mypy --platform $$system --cache-dir .mypy_cache/$$system src examples || exit; done

layers: $(VENV)/.dev
	@$(BIN)/lint-imports --no-logo

fresh: $(VENV)/.dev
	@$(BIN)/python proto/generate.py --check

generate: $(VENV)/.dev
	@$(BIN)/python proto/generate.py

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("feishu_trio needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Say: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@echo "setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.demo: $(VENV)/.pip pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[cli]"
	@touch $@

$(VENV)/.dev: $(VENV)/.pip pyproject.toml tests/node/package.json
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[all]" --group dev
	@if command -v npm >/dev/null; then cd tests/node && npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts; \
	else echo "npm is missing: the tests with the official Node client will be skipped"; fi
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	@touch $@

clean:
	rm -rf $(VENV) dist build tests/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
