# rbox: build, try, test, measure. `make help` lists the targets.

CARGO  ?= cargo
TARGET  = $(shell rustc -vV | sed -n 's/^host: //p')
RELEASE = target/$(TARGET)/release/rbox

.PHONY: help build try test test-faults test-vm lint fmt generate bench deb install clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

build: ## build the static release binary
	$(CARGO) build --release --locked
	@ls -l $(RELEASE)

try: build ## install missing host helpers and run the built-in image
	tests/setup helpers
	$(RELEASE) run --rm builtin:hello

test: ## install what the tests need and run all of them as an unprivileged user
	tests/setup all
	tests/run

test-faults: ## every point of the crash and error sweeps (root, about an hour)
	tests/setup all
	tests/run --faults

test-vm: build ## the cases of tests/vm on a booted Debian with systemd and cgroup v2 (emulated, cached)
	tests/setup vm
	tests/vm/run $$(packaging/build-deb $(RELEASE))

lint: ## formatting and clippy
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings

fmt: ## format the sources
	$(CARGO) fmt

generate: ## write man pages and completions anew
	$(CARGO) run --quiet --locked -- internals generate man man
	$(CARGO) run --quiet --locked -- internals generate completions completions

bench: build ## ratios against podman, crun and bwrap, side by side in one run
	tests/setup all
	tests/bench $(RELEASE)

deb: build ## build a Debian package in target/
	packaging/build-deb $(RELEASE)

install: build ## install to PREFIX (default /usr/local)
	install -Dm755 $(RELEASE) $(DESTDIR)$(or $(PREFIX),/usr/local)/bin/rbox
