# The verbs of this repository. Each sets up what it needs by scripts/setup, which is quick when nothing changed.
.DEFAULT_GOAL := help
.PHONY: run test kills examples check format bench fuzz docs image lock clean help
PY := .venv/bin/python

run: ## set up, start a devnet, take one work item through it to payment (SPEC=file takes another one)
	@scripts/setup node
	@ORCA_HOME="$${ORCA_HOME:-.orca}" .venv/bin/orca devnet --once $(or $(SPEC),examples/market-analysis.json)

test: ## set up, build Kubo once where Go is, run every test in random order, on every core (ARGS="-k replay -x" reaches pytest)
	@scripts/setup dev
	@scripts/kubo >/dev/null || true
	@$(PY) -m pytest -n logical --maxprocesses 4 $(ARGS)

examples: ## `orca run` the example of every swarm type on the embedded model, and verify its proof (minutes; `make test` runs one)
	@scripts/setup dev
	@$(PY) -m pytest -m every_example -rP tests/walk/test_examples_on_weights.py $(ARGS)

kills: ## kill -9 a run of every swarm type at every write of its journal, over both journals (minutes; `make test` draws some)
	@scripts/setup dev
	@$(PY) -m pytest -m every_kill -rP -n logical --maxprocesses 4 tests/walk/test_kills.py $(ARGS)

check: ## formatting, lint, types and floors, without changing anything
	@scripts/setup dev
	$(PY) -m ruff format --check
	$(PY) -m ruff check
	$(PY) -m mypy
	.venv/bin/lint-imports

format: ## write the formatting that `make check` asks for
	@scripts/setup dev
	$(PY) -m ruff check --fix-only
	$(PY) -m ruff format

bench: ## measure, and write docs/benchmarks
	@scripts/setup dev
	@$(PY) -m tests.bench $(ARGS)
	@$(if $(ARGS),,$(PY) -m tests.bench.stores)

fuzz: ## search by coverage for bytes that a reader of strangers' data falls over (SECONDS=60 for each of them)
	@scripts/setup dev
	@.venv/bin/uv pip install -q --python $(PY) --require-hashes --no-build -r requirements/fuzz.txt
	@$(PY) -m tests.fuzz $(or $(SECONDS),60)

docs: ## check that the documents are true: links, commands, settings, dependencies
	@scripts/setup dev
	@$(PY) -m pytest tests/house/test_docs.py $(ARGS)

image: ## build the node's container image, run it and look at it from inside (ENGINE=docker|podman|buildah chooses)
	@scripts/setup node
	@scripts/image $(ARGS)

lock: ## write requirements/*.txt from pyproject.toml (UPGRADE=1 takes the newest versions)
	@scripts/setup dev
	@scripts/lock $(if $(UPGRADE),--upgrade)

clean: ## remove everything that can be made again
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
