# One entry for everything a developer does. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PROFILE ?= dev
BLOCK_TIME ?= 2
# Where `make test-env` keeps its servers.
TEST_DIR ?= .stack/test

# rustup's cargo looks for its toolchains under $HOME; under another HOME they lie beside it.
ifeq ($(shell cargo --version >/dev/null 2>&1 || echo missing),missing)
export RUSTUP_HOME ?= $(abspath $(dir $(shell command -v cargo))../../.rustup)
endif

target_dir = $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
bin_dir = $(target_dir)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
stack = $(bin_dir)/stack
# What the stack, the demo and the rehearsals run.
PROGRAMS = gateway mint-executor callback fiatrails stack chaos rehearse
# Cargo chooses the features of a library by the packages that it is asked to build. Everything asks for the whole
# workspace and names the programs it wants, so nothing is built twice.
build_programs = cargo build --workspace

.PHONY: check structure structure-tighten
.PHONY: help demo up down test test-env test-env-down contracts mutants mutants-services mutants-pure mutants-contracts mutants-changed lint fmt bench compose-smoke tools build rehearse-restore rehearse-alerts dashboard-pictures flood chaos chaos-slice

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Show a payment become a mint: private servers, real signatures, real chain
	@echo 'make demo: first installs what is missing, if anything, and says what; then builds the services, which takes minutes'
	@echo 'the first time; then starts private servers and a chain under .stack/demo, sends payments, and takes all of it away.'
	@$(MAKE) tools build
	@$(stack) demo

up: tools build ## Start (what is not running of) the stack; settings in .stack/env. BLOCK_TIME=<s>, PROFILE=release
	@$(stack) up --block-time $(BLOCK_TIME)

down: ## Stop the stack and forget its data
	@if [ -x $(stack) ]; then $(stack) down; elif [ -d .stack ]; then $(MAKE) build && $(stack) down; fi

test: ## Run every test, unit to end to end, and the contracts'
	@scripts/test

test-env: tools ## Start the servers tests share and print their settings: eval "$(make -s test-env)"
	@$(build_programs) --quiet --bin stack >&2
	@mkdir -p $(TEST_DIR)
	@$(target_dir)/debug/stack services up --dir $(TEST_DIR) --env-out $(TEST_DIR)/env >&2
	@cat $(TEST_DIR)/env

test-env-down: ## Stop the servers of test-env
	@$(build_programs) --quiet --bin stack
	@$(target_dir)/debug/stack services down --dir $(TEST_DIR)

contracts: ## Everything that checks the contracts, analysis and rehearsals included (docs/CONTRACTS.md)
	@scripts/install-tools contracts >&2
	@scripts/contracts full

# SHARD=k/n: the k-th of n parts, from 0/n on. What a run has shown is kept: it goes on where it was cut off.
shard = $(if $(SHARD),--shard $(SHARD))
# What is compared for `mutants-changed`.
BASE ?= main

mutants: mutants-contracts mutants-services mutants-pure ## Take out one guard at a time and expect red tests (hours). SHARD=0/4

mutants-services: tools ## The services' named guards alone. WORD=seal for some
	@$(build_programs) --quiet --bin stack --bin mutants
	@$(target_dir)/debug/stack services run -- $(target_dir)/debug/mutants $(WORD) $(shard)

mutants-pure: ## What cargo-mutants finds in the pure rooms alone
	@scripts/install-tools mutants >&2
	@mkdir -p $(target_dir)/mutants
	@cargo mutants --iterate --output $(target_dir)/mutants $(shard)

mutants-changed: tools ## Guards and pure rooms that differ from BASE (main)
	@scripts/install-tools mutants >&2
	@$(build_programs) --quiet --bin stack --bin mutants
	@$(target_dir)/debug/stack services run -- $(target_dir)/debug/mutants --changed $(BASE)
	@mkdir -p $(target_dir)/mutants
	@git diff $(BASE) >$(target_dir)/mutants/changed.diff
	@cargo mutants --in-diff $(target_dir)/mutants/changed.diff --output $(target_dir)/mutants

mutants-contracts: ## The contracts' guards alone. WORD=treasury for some, SHARD=1/6 for a part, RESUME=1 to go on
	@contracts/install.sh >&2
	@contracts/tools/mutants $(WORD) $(if $(SHARD),--shard $(SHARD)) $(if $(RESUME),--resume)

check: ## Before a commit: formatting, clippy, structure, tests without servers (3 minutes)
	@scripts/check

structure: ## Dependencies, circles, names, lengths, references. STRUCTURE_ARGS=--all shows what is tolerated for now
	@cargo run --quiet --bin structure -- $(STRUCTURE_ARGS)

structure-tighten: ## After an improvement: lower what `make structure` tolerates
	@cargo run --quiet --bin structure -- --tighten

lint: ## Formatting, clippy, dependency rules, structure
	@scripts/lint

fmt: ## Format Rust and Solidity
	@cargo fmt --all
	@cd contracts && tools/foundry forge fmt

# Unoptimised figures mislead; PROFILE=dev on the command line still wins.
bench: PROFILE = release
bench: tools build ## Measure accepted and minted per second against the machine's own limits
	@$(build_programs) --quiet --profile $(PROFILE) --bin bench
	@$(stack) up --block-time $(BLOCK_TIME)
	@set -a && . .stack/env && exec env FIATRAILS_BIN=$(bin_dir)/fiatrails BLOCK_TIME=$(BLOCK_TIME) $(bin_dir)/bench $(BENCH_ARGS)

# One pass of the matrix takes some twelve minutes on two free cores; chosen scenarios are run once if no time is given.
MINUTES ?= $(if $(CHAOS_ARGS),,15)
SEED ?= 7
chaos: tools build ## Break the running product by a seeded schedule and check every shilling. MINUTES=15 SEED=7 CHAOS_ARGS=--list
	@$(bin_dir)/chaos --seed $(SEED) $(CHAOS_ARGS) $(if $(MINUTES),--minutes $(MINUTES))

SLICE = rpc-drops rpc-errors rpc-endpoints reorgs kills kill-points broker-restart database-restart rpc-outage two-executors operations everything
chaos-slice: tools build ## About ten minutes of chaos, for CI
	@$(bin_dir)/chaos --seed $(SEED) $(addprefix --scenario ,$(SLICE))

compose-smoke: ## Bring compose.yaml up for real, run the demo's checks against it, take it away
	@scripts/compose-smoke --check
	@scripts/install-tools >&2
	@$(build_programs) --quiet --bin stack
	@STACK=$(target_dir)/debug/stack scripts/compose-smoke

rehearse-restore: tools build ## Lose a database and a broker, restore them from a backup, reconcile with the chain
	@$(stack) services run -- cargo nextest run --package e2e -E 'test(/^restore::/)' --no-capture

flood: tools ## Park 100,000 dead letters, list, count and replay them in bounded time and memory (minutes)
	@$(build_programs) --quiet --bin stack
	@$(stack) services run -- cargo nextest run --package ops --ignore-default-filter -E 'test(/a_flood_of_/)' --no-capture

rehearse-alerts: tools build ## Kill each dependency under load: its alert, its runbook, the money (20 minutes). REHEARSE_ARGS=--list
	@$(bin_dir)/rehearse $(REHEARSE_ARGS)

# Of which the last two and a half minutes are drawn.
PICTURES ?= .stack/pictures
dashboard-pictures: tools build .stack/drawing/bin/python ## Draw the dashboards from a stack under load, into .stack/pictures
	@$(bin_dir)/rehearse --none --healthy-for 150 --final-command \
		'.stack/drawing/bin/python scripts/draw-dashboards $$PROMETHEUS_URL $(PICTURES) --minutes 2.5 --interval 15s'

.stack/drawing/bin/python: scripts/draw-dashboards.requirements
	@scripts/install-tools contracts >&2
	@python3 -m venv --clear .stack/drawing
	@.stack/drawing/bin/pip install --quiet --disable-pip-version-check --requirement $<

tools:
	@scripts/install-tools >&2

build:
	@$(build_programs) --profile $(PROFILE) $(addprefix --bin ,$(PROGRAMS))
