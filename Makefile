# The two commands of the README are `make run` and `make test`; both install what they need.
# `make help` lists all.

SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO_ENV := [ -f "$$HOME/.cargo/env" ] && . "$$HOME/.cargo/env";

.PHONY: help run build test lint unit deny check-tshark try-kernels bench fuzz install clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

run: ## Install what building needs, build, start remorad in the foreground (as root)
	@scripts/setup build
	@$(CARGO_ENV) cargo build --release --bins
	@exec scripts/run-foreground $(ARGS)

build: ## Build the release binaries
	@scripts/setup build
	@$(CARGO_ENV) cargo build --release --bins

test: ## Install what the tests need, then lint and run all of them, kernel tests included (as root)
	@scripts/setup test
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory deny
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory check-tshark

lint: ## rustfmt and clippy, warnings are errors
	@$(CARGO_ENV) cargo fmt --all --check
	@$(CARGO_ENV) cargo clippy --workspace --all-targets --quiet -- -D warnings

deny: ## Licences, duplicate and banned crates, sources
	@$(CARGO_ENV) cargo deny --log-level error check bans licenses sources

unit: ## All tests, without installing or linting
	@$(CARGO_ENV) cargo nextest run --workspace --no-fail-fast
	@$(CARGO_ENV) cargo test --workspace --doc --quiet

check-tshark: ## Compare every golden capture with what tshark reads
	@$(CARGO_ENV) cargo build --quiet --bin remora
	@REMORA=target/debug/remora scripts/check-tshark

try-kernels: ## Boot Debian's kernels from 5.10 to the newest in QEMU and see calls there (as root)
	@$(CARGO_ENV) cargo build --release --bins
	@scripts/try-kernels $(ARGS)

bench: ## Measure against peers, side by side in one run
	@scripts/setup bench
	@$(CARGO_ENV) benches/run $(ARGS)

fuzz: ## Fuzz every parser for FUZZ_SECONDS (default 60) each
	@$(CARGO_ENV) scripts/fuzz

install: build ## Install binaries, units and default configuration below $(DESTDIR)/
	@scripts/install "$(DESTDIR)"

clean: ## Remove what was built
	@cargo clean
