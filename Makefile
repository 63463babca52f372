# `make` lists the targets. What a recipe needs beyond a line or two is in .config/scripts.

# Base port and data folder of the cluster: make run PORT=7000 DATA=/tmp/other
PORT ?=
DATA ?=
# Numbers of faults, all when empty, and their load, full or quick: make faults FAULTS=17,20 LOAD=quick
FAULTS ?=
LOAD ?= full
# How long each fuzz target runs: make fuzz SECONDS=600
SECONDS_EACH := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),60)
# The sequence of faults of a soak, and how long it takes: make soak SEED=7 MINUTES=30
SEED ?= 1
MINUTES ?= 10

SHELL := bash
# Queries are checked against services/*/.sqlx: building needs no database, whatever DATABASE_URL says.
export SQLX_OFFLINE := true
export PATH := $(CURDIR)/target/tools/venv/bin:$(PATH)

scripts := .config/scripts
step = @printf '\n== %s\n' "$(1)"

.DEFAULT_GOAL := help
.PHONY: help run demo test deployment faults soak model bench lint proto deny fmt sqlx audit fuzz sbom setup setup-test

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "PORT=7000 sets the base port of run and demo, DATA=folder the data folder of run."
	@echo "FAULTS=17,20 picks faults, LOAD=quick makes their load small."

run: setup ## install what is missing, start the cluster, play the demo and keep serving (Ctrl-C ends it)
	@cargo build --locked -p plazo
	@exec cargo run --quiet --locked -p plazo -- up --demo $(if $(PORT),--port "$(PORT)") $(if $(DATA),--data "$(DATA)")

demo: ## play the demo against the cluster that `make run` started
	@exec cargo run --quiet --locked -p plazo -- demo $(if $(PORT),--port "$(PORT)")

# Tests across services start the built programs, which cargo would not build for them: hence --all-targets.
test: lint ## all checks and tests, on private servers
	$(call step,query data)
	@$(scripts)/sqlx check
	$(call step,tests)
	@cargo build --locked --workspace --all-targets
	@cargo test --no-fail-fast --locked --workspace --exclude plazo-tests
	@cargo nextest run --locked --workspace -E 'package(plazo-tests)'
	$(call step,client in Python)
	@$(scripts)/python-client
	$(call step,deployment)
	@$(scripts)/deployment
	$(call step,fuzz targets)
	@$(MAKE) --no-print-directory fuzz

deployment: setup-test ## manifests, images and the gateway alone
	@cargo build --locked --workspace --bins
	@$(scripts)/deployment

faults: setup ## faults under load on private servers, into target/faults.json
	@cargo build --locked --profile optimized --workspace --bins
	@FAULTS="$(FAULTS)" LOAD="$(LOAD)" FAULTS_JSON="$(CURDIR)/target/faults.json" \
		cargo test --quiet --locked --profile optimized -p plazo-tests --test faults -- --ignored --exact all --nocapture

soak: setup ## faults of the timer in random order under load: SEED=7 MINUTES=30
	@cargo build --locked --profile optimized --workspace --bins
	@SEED="$(SEED)" MINUTES="$(MINUTES)" LOAD="$(LOAD)" \
		cargo test --quiet --locked --profile optimized -p plazo-tests --test faults -- --ignored --exact soak --nocapture

model: setup ## every state of the timer's protocol that can be reached, with and without its guards
	@cargo test --quiet --locked --profile optimized -p plazo-tests --test model -- --include-ignored

bench: setup ## measure throughput, plans and latencies into target/bench, optimised (QUICK=1: a small run, PARTS=history: one)
	@cargo build --locked --profile optimized -p plazo-ticketing -p plazo-timer -p plazo-notification -p plazo-history -p plazo
	@cargo bench --quiet --locked --profile optimized -p plazo-tests --bench bench -- $(if $(QUICK),--quick) $(PARTS)

lint: setup-test proto deny ## formatting, clippy without warnings, Python, protos, licences and banned crates
	$(call step,formatting)
	@cargo fmt --all --check
	$(call step,clippy)
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	$(call step,Python)
	@ruff check --quiet tests $(scripts)/dashboards $(scripts)/sbom
	@ruff format --quiet --check tests

proto: setup-test ## lint, format and breaking changes of the protos
	$(call step,protos)
	@$(scripts)/protos

deny: setup-test
	$(call step,licences and banned crates)
	@cargo deny --locked --log-level error check bans licenses sources

fmt: setup-test ## format Rust, protos and Python
	@cargo fmt --all
	@target/tools/venv/bin/buf format --write proto
	@target/tools/venv/bin/ruff format --quiet tests

sqlx: setup-test ## write the data of the checked queries anew, after a change of SQL or migrations
	@$(scripts)/sqlx write

audit: setup-test ## look for known vulnerabilities in the crates (needs the advisory database's network)
	@cargo deny --locked check advisories

fuzz: ## feed foreign bytes to what reads them, each target for a while: SECONDS=60
	@$(scripts)/setup fuzz
	@$(scripts)/fuzz "$(SECONDS_EACH)"

sbom: ## write the bill of materials of the programs, CycloneDX in target/sbom
	@$(scripts)/sbom

setup:
	@$(scripts)/setup run

setup-test:
	@$(scripts)/setup test
