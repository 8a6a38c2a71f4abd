# `make` or `make help` lists what there is. Nothing asks a question; everything it makes lies in .venv and .local.

SHELL := /bin/sh
PORT ?= 8000
# How long `make soak` goes on.
MINUTES ?= 10
# The first Python that is new enough; else python3, whose refusal says what is missing.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done; echo python3)
BIN := .venv/bin
ARGS ?=
export PORT

.DEFAULT_GOAL := help
.PHONY: help run test bench soak screenshots lint format clean environment-run environment-test environment-bench

help: ## Show this list
	@printf '\n  \033[1mClaudia\033[0m\n\n'
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[36mmake %-11s\033[0m %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@printf '\n  PORT=8001 make run     another port\n  DATABASE_URL=…         a PostgreSQL (15 or newer) of yours instead of the embedded one\n'
	@printf '  make test ARGS="-k sync"   only some tests\n\n'

run: environment-run ## Start everything for development, with a demo and a staff login
	@exec $(BIN)/python manage.py serve --demo

test: environment-test ## Run all tests: of the browser client in node, then all others in pytest
	@status=0; \
	if command -v node >/dev/null 2>&1; then \
		node --test $$(find tests/js -name '*.test.js') || status=1; \
	else \
		echo "claudia: node is not installed, so the tests of the browser client (tests/js) were NOT run." >&2; \
		test -z "$$CI" || status=1; \
	fi; \
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS) || status=$$?; \
	exit $$status

bench: environment-bench ## Measure everything beside its baseline, in about a quarter of an hour; draw docs/benchmarks/
	@exec $(BIN)/python -m benchmarks $(ARGS)

screenshots: environment-test ## Take the pictures of the documents anew, with Chromium
	@$(BIN)/python -m tests.acceptance.screenshots

soak: environment-test ## Try for MINUTES=10 to make the road out lose, double, tear or turn back anything; SEED=… repeats
	@exec $(BIN)/python -m tests.nemesis.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(GIANT),--giant $(GIANT))

lint: environment-test ## Check style, types, layers and templates
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/djlint --quiet --lint --check templates

format: environment-test ## Put Python code and templates into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	-$(BIN)/djlint --quiet --reformat templates

clean: ## Remove everything that was made here: environment, database, caches
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m claudia.postgres forget .local/postgres .local/postgres-test .local/postgres-bench .local/postgres-bench-quiet; fi
	@rm -rf .venv .local .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

environment-run environment-test environment-bench: environment-%:
	@$(PYTHON) .ci/environment.py $* $(PORT)
