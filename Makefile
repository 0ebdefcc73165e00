# Developer's interface. `make help` lists the targets.
PYTHON ?= python3
export PYTHON
BIN := .venv/bin
# A database of its own for the migration check; nothing of yours is touched.
CHECK_DB := build/migration-check.db

.PHONY: help setup demo test format lint types contracts migrations pytest lock docs migration
.DEFAULT_GOAL := help

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed  ## Make .venv with everything: client, hub, training, serving, test tools

CLIENTS := tests/contract/clients
.venv/.installed: requirements/cpu.lock requirements/install.sh pyproject.toml \
  $(CLIENTS)/requirements.txt $(CLIENTS)/package-lock.json
	requirements/install.sh
	touch $@

demo: setup  ## The whole loop on this machine: train a model on a task, serve it, see it answer
	$(BIN)/python -m demo

test: setup lint types contracts migrations pytest  ## Everything that .ci/run checks

format: setup  ## Rewrite the code in the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

migrations: setup
	mkdir -p build && rm -f $(CHECK_DB)
	FREESOLO_SERVER_DATABASE_URL=sqlite:///$(CHECK_DB) $(BIN)/alembic upgrade head
	FREESOLO_SERVER_DATABASE_URL=sqlite:///$(CHECK_DB) $(BIN)/alembic check

# Two at a time, each file with one of them: one alone keeps less than half of two cores busy.
pytest: setup
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

docs: setup  ## Write the generated parts of the documentation anew
	$(BIN)/python docs/generate.py

migration: setup  ## Write a migration for changed models: make migration m="add tags"
	mkdir -p build
	FREESOLO_SERVER_DATABASE_URL=sqlite:///$(CHECK_DB) $(BIN)/alembic upgrade head
	FREESOLO_SERVER_DATABASE_URL=sqlite:///$(CHECK_DB) $(BIN)/alembic revision --autogenerate -m "$(m)"

lock: setup  ## Resolve the exact pins anew
	UV_FIND_LINKS="$${UV_FIND_LINKS:-$$($(BIN)/python -m pip config get global.find-links)}" \
	$(BIN)/uv pip compile --quiet --python-version 3.11 --override requirements/overrides-cpu.txt \
	  --no-header --no-annotate pyproject.toml requirements/serve-cpu.in \
	  --extra hub --extra train --extra ray --extra serve --group dev -o requirements/cpu.lock
	$(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate \
	  $(CLIENTS)/requirements.in -o $(CLIENTS)/requirements.txt
