# Everything from a fresh Debian 12 with rustup: `make run`, `make test`. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help run compose compose-down test test-rust test-cpp test-fuzz test-drills build build-rust build-cpp \
  build-clients fmt lint clean

# rustup puts cargo here, and a fresh login shell may not know it yet.
export PATH := $(HOME)/.cargo/bin:$(PATH)

TARGET := $(or $(CARGO_TARGET_DIR),target)
VIGIA  := $(TARGET)/release/vigia
ARGS   ?=

# Docker Compose v2 where there is one. For docker-compose 1.29: build with BuildKit, by the docker command.
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
export DOCKER_BUILDKIT := 1
export COMPOSE_DOCKER_CLI_BUILD := 1

# Cheap first: what fails should fail early.
TEST_STEPS := test-rust test-cpp test-fuzz test-drills
FUZZ_SECONDS ?= 5

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14
	@echo
	@echo 'Example: make run ARGS="--for 30s --json"'

# Set-up talks on standard error, so that the last line of standard output is the summary.
run: ## Set up, build, and run the site ./site with 4 simulated sensors; ARGS="--for 30s --json"
	@{ .ci/setup run && $(MAKE) build; } >&2
	@exec $(VIGIA) up --site site --demo 4 $(ARGS)

compose: ## Build and run every role in a container of its own, with two sensors; BINARIES=prebuilt takes what is built
	@$(COMPOSE) build
	@$(COMPOSE) up --detach || { $(COMPOSE) logs init >&2; exit 69; }
	@COMPOSE="$(COMPOSE)" compose/wait
	@echo
	@echo "API      https://$$($(COMPOSE) port store 8080)/docs"
	@echo "sensors  $$($(COMPOSE) port broker 7700)"
	@echo "MQTT     $$($(COMPOSE) port broker 8883) by TLS, user inspector, its password and the authority's certificate by"
	@echo "         $(COMPOSE) run --rm init cat /site/keys/inspector/password /site/tls/ca.pem"
	@echo "metrics  http://$$($(COMPOSE) port broker 7701)/metrics"
	@echo "ledger   $(COMPOSE) exec store vigia ledger --site /site"

compose-down: ## Stop the containers; what they keep stays in its volumes
	@$(COMPOSE) down

test: ## Set up and run every test, cheap ones first
	@.ci/setup test
	@for step in $(TEST_STEPS); do \
	  begun=$$SECONDS; echo "===== $$step"; $(MAKE) $$step; echo "===== $$step: $$((SECONDS - begun)) s"; \
	done

# With the deliberate defects compiled in: some tests are the oracle's negative controls.
test-rust: build-cpp build-clients ## Rust: unit, property, crash and command tests, short drills, negative controls
	@if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run --locked --release --workspace --features sabotage; \
	else cargo test --locked --release --workspace --features sabotage; fi

test-cpp: ## C++: all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@cd sensor-cpp && cmake --preset asan && cmake --build --preset asan && ctest --preset asan

test-fuzz: ## Every decoder against random input, for FUZZ_SECONDS each
	@fuzz/run $(FUZZ_SECONDS)

test-drills: build ## Real processes, injected faults, an oracle: one drill of each kind on the real program
	@$(VIGIA) drill short

build: build-rust build-cpp ## The vigia command and the C++ sensor

build-rust:
	@cargo build --locked --release --package vigia

build-cpp:
	@cd sensor-cpp && cmake --preset release && cmake --build --preset release

# Drivers of client libraries (clients/README.md); the others need no building.
build-clients:
	@for client in paho-cpp libmodbus; do \
	  cmake -S clients/$$client -B build/clients/$$client -G Ninja -DCMAKE_BUILD_TYPE=Release; \
	  cmake --build build/clients/$$client; \
	done

fmt: ## Format the Rust code
	@cargo fmt --all

lint: ## Formatting and warnings, which are errors
	@cargo fmt --all --check
	@cargo clippy --locked --release --workspace --all-targets -- -D warnings

clean: ## Remove what was built; the site stays
	@rm -rf $(TARGET) build
