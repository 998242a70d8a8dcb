# rbox: build, try, test, measure. `make help` lists the targets.

CARGO  ?= cargo
TARGET  = $(shell packaging/target)
RELEASE = target/$(TARGET)/release/rbox
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
PREFIX ?= /usr/local
DEST    = $(DESTDIR)$(PREFIX)

export CARGO_BUILD_TARGET = $(TARGET)

.PHONY: help toolchain build try test test-faults test-packages test-vm test-power lint fmt generate bench deb rpm tarball dist install uninstall clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

toolchain: ## add what the static build needs to the toolchain: musl
	@tests/setup toolchain

build: toolchain ## build the static release binary
	$(CARGO) build --release --locked
	@ls -l $(RELEASE)

try: build ## install missing host helpers and run the built-in image
	tests/setup helpers
	$(RELEASE) run --rm builtin:hello

test: toolchain ## install what the tests need and run all of them as an unprivileged user
	tests/setup all
	tests/run

test-faults: toolchain ## every point of the crash and error sweeps (root, about an hour)
	tests/setup all
	tests/run --faults

test-packages: build ## make every package and look at it: lintian, rpm, the archive for a home directory
	tests/setup packages
	tests/packages $(RELEASE)

test-vm: build ## the cases of tests/vm on booted Debians with systemd and cgroup v2 (emulated, cached)
	tests/setup vm
	tests/vm/run $$(packaging/build-deb $(RELEASE))
	tests/vm/run -s trixie -l selinux $(RELEASE)
	tests/vm/run -s trixie $(RELEASE) $(patsubst %,tests/vm/cases/%,10_machine 20_containers 30_limits 33_strict)

test-power: build ## cut the power of that machine three times; all cuts: tests/vm/power/run (half an hour)
	tests/setup vm
	tests/vm/power/run --cuts 3 --full 0 --failing 0 $(RELEASE)

lint: toolchain ## formatting and clippy
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings

fmt: ## format the sources
	$(CARGO) fmt

generate: toolchain ## write man pages, completions and the default seccomp filter anew
	$(CARGO) run --quiet --locked -- internals generate man man
	$(CARGO) run --quiet --locked -- internals generate completions completions
	$(CARGO) run --quiet --locked -- internals generate seccomp src/runtime/seccomp

bench: build ## ratios against podman, crun and bwrap, side by side in one run
	tests/setup all
	tests/bench $(RELEASE)

deb: build ## build a Debian package in target/
	packaging/build-deb $(RELEASE)

rpm: build ## build an RPM package in target/
	packaging/build-rpm $(RELEASE)

tarball: build ## build an archive in target/ that installs into a home directory, without root
	packaging/build-tarball $(RELEASE)

dist: ## write an archive of the sources to target/, from which packaging/arch/PKGBUILD builds
	git archive --prefix=rbox-$(VERSION)/ -o target/rbox-$(VERSION).tar.gz HEAD

# No `build` before it: root, who installs, has no toolchain where the user's is in her home.
install: ## install binary, manual pages, completions and unit to PREFIX (default /usr/local), after `make build`
	@test -x $(RELEASE) || { echo "there is no $(RELEASE) yet: run make build first, as yourself" >&2; exit 1; }
	install -Dm755 $(RELEASE) $(DEST)/bin/rbox
	install -d $(DEST)/share/man/man1
	install -m644 man/*.1 $(DEST)/share/man/man1
	install -Dm644 completions/rbox.bash $(DEST)/share/bash-completion/completions/rbox
	install -Dm644 completions/_rbox $(DEST)/share/zsh/site-functions/_rbox
	install -Dm644 completions/rbox.fish $(DEST)/share/fish/vendor_completions.d/rbox.fish
	install -Dm644 packaging/systemd/rbox-restart.service $(DEST)/share/systemd/user/rbox-restart.service
	sed -i 's|/usr/bin/rbox|$(PREFIX)/bin/rbox|' $(DEST)/share/systemd/user/rbox-restart.service

uninstall: ## remove what install has put below PREFIX
	rm -f $(DEST)/bin/rbox $(DEST)/share/man/man1/rbox.1 $(DEST)/share/man/man1/rbox-*.1
	rm -f $(DEST)/share/bash-completion/completions/rbox $(DEST)/share/zsh/site-functions/_rbox
	rm -f $(DEST)/share/systemd/user/rbox-restart.service
	rm -f $(DEST)/share/fish/vendor_completions.d/rbox.fish
