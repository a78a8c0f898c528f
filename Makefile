# `make` lists the targets. README.md says which to begin with.

CARGO := cargo
REAL_LIVY := deploy/demo/livy
SHELL_SCRIPTS := .ci/run deploy/demo/run deploy/demo/packages deploy/demo/standin/spark-submit \
	deploy/hdinsight/calls.sh tests/live/clients/curl_flow.sh

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test fast fmt fmt-check lint unit alerts providers live doc tools

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: ## a real Livy, the gateway, two users and a checked transcript (ONCE=1 FAST=1 LIVY=simulated)
	@deploy/demo/run

test: fmt-check lint unit alerts doc providers live ## everything: format, lints, tests, and the live tests on a real Livy

fast: fmt-check lint unit ## the inner loop: `test` without the live parts

fmt: ## format the code
	$(CARGO) fmt --all

fmt-check:
	$(CARGO) fmt --all --check

# The live and the provider tests are no part of --all-targets, as they are no part of a plain `cargo test`.
lint: tools ## clippy, and shellcheck of the scripts
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --test live --test providers --locked -- -D warnings
	@command -v shellcheck >/dev/null || deploy/demo/packages shellcheck shellcheck
	shellcheck $(SHELL_SCRIPTS)

unit: tools ## unit, property, configuration and whole-gateway tests, and those of the simulated Livy
	$(CARGO) test --workspace --locked

live: tools ## the live tests, on a real Livy with real clients, installed first (LIVY_DIST=DIR adds yours)
	$(REAL_LIVY) install --dist ''
	@if [ -n "$$LIVY_DIST" ]; then $(REAL_LIVY) install; fi
	tests/live/clients/install >/dev/null
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || \
		deploy/demo/packages Prometheus prometheus
	$(CARGO) test --test live --locked -- --nocapture

providers: tools ## the gateway beside real identity providers, installed first
	@test -x /usr/sbin/slapd && command -v ldapmodify >/dev/null || deploy/demo/packages slapd slapd ldap-utils
	@command -v openssl >/dev/null || deploy/demo/packages openssl openssl
	@command -v htpasswd >/dev/null || deploy/demo/packages "htpasswd" apache2-utils
	tests/providers/idp/install >/dev/null
	$(CARGO) test --test providers --locked -- --nocapture

alerts: tools ## the alerts and recording rules, against their own tests, and the dashboard's shape
	@command -v promtool >/dev/null || deploy/demo/packages Prometheus prometheus
	cd deploy/observability && promtool check config prometheus.yml && promtool check rules recording.yml alerts.yml && \
		promtool test rules alerts_test.yml && ./check dashboard

doc: tools ## the API documentation, warnings refused
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

# What the targets need beside Rust. deploy/demo/livy looks for Java, Maven and PySpark itself.
tools:
	@command -v cargo >/dev/null || { echo "Rust is missing: https://rustup.rs" >&2; exit 69; }
	@command -v cc >/dev/null || deploy/demo/packages "a C compiler" gcc libc6-dev
	@command -v python3 >/dev/null || deploy/demo/packages "Python 3" python3
	@command -v curl >/dev/null || deploy/demo/packages curl curl
