# Everything that a developer types. `make` alone lists the targets.
#
# It needs make and Python 3.11. uv is taken from PATH or put into .tools/, packages go into
# .venv/, the local stack into .lockstep/.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.PHONY: help demo test lint format up down status bench faults long sync clean

BIN := .venv/bin
# The environment is in step with the lock file when this file is newer than both.
SYNCED := .venv/.synced
UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)
UV_VERSION := >=0.11,<1
BENCHMARKS := $(foreach name,scorer kernel_border windows windows_batch stream batch shadow swap,\
  $(if $(wildcard benchmarks/$(name).py),$(name)))
FAULTS := tests/streaming/test_crashes.py tests/streaming/test_dependencies.py \
  tests/streaming/test_restarts.py tests/streaming/test_truncated.py \
  tests/streaming/test_stopping.py tests/batch/test_batch_failures.py tests/local/test_full_stack.py

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(SYNCED) ## everything, on real flights: train, approve, score by Airflow and by Kafka, compare
	@$(BIN)/python -m demo.flights

# -E: without the caller's PYTHON* variables (one takes the asserts out, another ends in warnings).
# Two processes, each with its own services: much of a test is waiting for one of them. A file's
# tests stay together, and share what they have started. A process that dies ends the run: to start
# another in its place, pytest-xdist can wait for ever.
test: lint ## lint, then the tests, against real services that the test session starts
	@$(BIN)/python -E -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

lint: $(SYNCED) ## format, style, layers, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

format: $(SYNCED) ## write the format and the safe corrections into the files
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

up: $(SYNCED) ## start the local stack: Postgres, Kafka, MLflow, Airflow
	@$(BIN)/lockstep up

down: ## stop the local stack and whatever it has started
	@if [ -x $(BIN)/lockstep ]; then $(BIN)/lockstep down; fi

status: $(SYNCED) ## what each service of the local stack is doing
	@$(BIN)/lockstep status

bench: $(SYNCED) ## all benchmarks, the quick way
	@set -e; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name --quick; done

faults: $(SYNCED) ## the fault suite: kill, freeze and cut off, and count what is lost or doubled
	@$(BIN)/python -E -m pytest -v -m 'long or not long' $(FAULTS)

long: $(SYNCED) ## what `make test` leaves out: landings, audits, a month with everything going wrong
	@$(BIN)/python -E -m pytest -m long

sync: $(SYNCED) ## install the locked packages into .venv/

clean: down ## remove what make and the stack have made, the lake and the models too
	rm -rf .venv .tools .lockstep

$(SYNCED): pyproject.toml uv.lock | $(UV)
	@echo "installing the locked packages into .venv/"
	@$(UV) sync --locked --all-extras --python 3.11
	@touch $@

# venv needs a package of its own on Debian; pip alone will do as well.
.tools/bin/uv:
	@python=$$(command -v python3.11 || command -v python3 || true); \
	if [ -z "$$python" ]; then \
	  echo "make: there is no python3 on PATH. next: install Python 3.11" >&2; exit 1; fi; \
	mkdir -p .tools; \
	echo "uv is not installed: getting it into .tools/"; \
	if "$$python" -m venv .tools >.tools/uv.log 2>&1 \
	  && .tools/bin/python -m pip install --quiet 'uv$(UV_VERSION)' >>.tools/uv.log 2>&1; then :; \
	elif "$$python" -m pip install --quiet --target .tools/pip 'uv$(UV_VERSION)' >>.tools/uv.log 2>&1; then \
	  mkdir -p .tools/bin; ln -sf ../pip/bin/uv .tools/bin/uv; \
	else \
	  tail -n 5 .tools/uv.log >&2; \
	  echo "make: uv could not be installed with $$python (log: .tools/uv.log)." >&2; \
	  echo "next: install uv yourself so that it is on PATH, or python3-venv, then make again" >&2; \
	  exit 1; \
	fi
