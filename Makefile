# Builds, tests and installs Almadia; `make help` lists the targets. CARGO_TARGET_DIR moves the build directory. All
# targets share one cargo profile, so that RocksDB is compiled once.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

TARGET := $(abspath $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target))
export CARGO_TARGET_DIR := $(TARGET)

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SONAME := libalmadia.so.$(basename $(VERSION))
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include

cargo := scripts/cargo.sh
C_FLAGS := -std=c99 -O2 -g -Wall -Wextra -Wpedantic -Werror -Iinclude
C_LINK = -L$(TARGET)/lib -Wl,-rpath,$(TARGET)/lib -lalmadia -lpthread
BUILT := $(TARGET)/release/libalmadia_c.so
LINKED := $(TARGET)/lib/libalmadia.so
PROGRAMS := $(TARGET)/programs
HEADERS := $(wildcard include/*.h include/*.hpp)
CHAOS_PROGRAMS := $(addprefix $(PROGRAMS)/,chaos_member hang.so steps.so powerloss.so powerloss_probe powerloss_probe64)

.PHONY: all
all: library $(PROGRAMS)/member ## Builds libalmadia.so; the header is include/almadia.h.
	@echo "library: $(LINKED)"
	@echo "header:  include/almadia.h"

.PHONY: library
library: needs
	@$(cargo) build --release --locked --package almadia-c
	@mkdir -p $(TARGET)/lib
	@ln -sf $(BUILT) $(LINKED)
	@ln -sf $(BUILT) $(TARGET)/lib/$(SONAME)

.PHONY: needs
needs:
	@scripts/install-needs.sh build

.PHONY: demo
demo: library $(PROGRAMS)/member python-package ## Three processes, a killed leader, every byte compared.
	@python3 examples/demo.py $(PROGRAMS)/member $(TARGET)/python/bin/python

.PHONY: test
test: ## Runs all tests: format, lints, licences, Rust, C, the demo, chaos, Python.
	@scripts/install-needs.sh test
	cargo fmt --all --check
	$(cargo) clippy --release --locked --workspace --all-targets --features almadia-python/bench -- -D warnings
	$(cargo) clippy --release --locked --lib --features simulation,capi -- -D warnings
	$(cargo) clippy --release --locked --lib -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(cargo) doc --quiet --release --locked --no-deps --lib
	@scripts/check-dependencies.sh
	timeout --foreground 90m $(cargo) test --release --locked
	@$(MAKE) --no-print-directory demo
	@$(MAKE) --no-print-directory chaos
	@$(MAKE) --no-print-directory test-python

# For some of the tests: scripts/noise.sh make chaos.
.PHONY: test-noise
test-noise: ## The same under CPU and disk load: two busy loops and a program that syncs constantly.
	scripts/noise.sh $(MAKE) --no-print-directory test

WHEELS = $(TARGET)/wheels
WHEEL_FEATURES =
# A separate cargo call: built together with the library, the module would get the C functions.
.PHONY: wheel
wheel: ## Builds the Python package into the build directory's wheels/.
	@scripts/install-needs.sh wheel
	@scripts/python-environment.sh
	@rm -rf $(WHEELS)
	@$(cargo) maturin build --quiet --release --locked --manifest-path bindings/python/Cargo.toml \
		--interpreter $(TARGET)/python/bin/python --out $(WHEELS) $(WHEEL_FEATURES)
	@echo "wheel:   $$(echo $(WHEELS)/*.whl)"

.PHONY: python-package
python-package: wheel
	@scripts/install-wheel.sh $(WHEELS)

PYTEST_FLAGS ?=
.PHONY: test-python
test-python: python-package ## Tests the installed Python package only. PYTEST_FLAGS="-k snapshot".
	@scripts/install-needs.sh test-python
	scripts/test-python.sh -n 2 $(PYTEST_FLAGS)

HOURS ?= 1000
.PHONY: sim
sim: needs ## Simulates clusters for HOURS=1000 hours; ALMADIA_SEED=n sets the base seed.
	ALMADIA_SIM_HOURS=$(HOURS) $(cargo) test --release --locked --lib simulated_hours -- --nocapture

DAYS ?= 14
ROUNDS ?= 300
.PHONY: soak
soak: library $(PROGRAMS)/reopen ## Long tests: HOURS=1000 and DAYS=14 simulated, 20,000 reopenings, ROUNDS=300 chaos cycles.
	ALMADIA_SIM_HOURS=$(HOURS) ALMADIA_SIM_DAYS=$(DAYS) $(cargo) test --release --locked --lib -- --nocapture \
		simulated_hours sim::weeks
	@directory=$$(mktemp -d) && $(PROGRAMS)/reopen $$directory/store 20000 8192 && rm -r $$directory
	@$(MAKE) --no-print-directory chaos CHAOS_FLAGS="--cycles $(ROUNDS)"

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=
.PHONY: fuzz
fuzz: needs ## Fuzzes each target for FUZZ_SECONDS=60; FUZZ_TARGETS="frames ..." selects some.
	FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz.sh $(FUZZ_TARGETS)

CHAOS_FLAGS ?=
.PHONY: chaos
chaos: library $(CHAOS_PROGRAMS) ## Tests crashes, power loss and damage. CHAOS_FLAGS="--seed N --only NAME".
	python3 tests/chaos/run.py $(PROGRAMS) $(CHAOS_FLAGS)

# Builds a separate wheel, with the feature that only the benchmark uses.
.PHONY: bench
bench: WHEELS = $(TARGET)/bench-wheels
bench: WHEEL_FEATURES = --features bench
bench: needs python-package ## Runs the benchmarks; prints tables and writes bench.json into the build directory.
	@$(cargo) bench --locked --bench store
	@$(TARGET)/python/bin/python benches/python/bench.py $(TARGET)/bench.json

# Quoted in the recipes: each may have blanks.
LIBRARIES = $(DESTDIR)$(LIBDIR)
PKG_CONFIG_FILE = $(LIBRARIES)/pkgconfig/almadia.pc
CMAKE_PACKAGE = $(LIBRARIES)/cmake/almadia
PLACES = "$(PREFIX)" "$(LIBDIR)" "$(INCLUDEDIR)"

.PHONY: install
install: $(BUILT) ## Installs library, headers, pkg-config and CMake files. PREFIX=/usr/local, DESTDIR=.
	install -d "$(LIBRARIES)/pkgconfig" "$(CMAKE_PACKAGE)" "$(DESTDIR)$(INCLUDEDIR)"
	install -m 644 $(HEADERS) "$(DESTDIR)$(INCLUDEDIR)"
	install -m 755 $(BUILT) "$(LIBRARIES)/libalmadia.so.$(VERSION)"
	ln -sf libalmadia.so.$(VERSION) "$(LIBRARIES)/$(SONAME)"
	ln -sf $(SONAME) "$(LIBRARIES)/libalmadia.so"
	scripts/pkg-config.sh $(VERSION) $(PLACES) > "$(PKG_CONFIG_FILE)"
	scripts/cmake-package.sh config $(VERSION) $(PLACES) > "$(CMAKE_PACKAGE)/almadiaConfig.cmake"
	scripts/cmake-package.sh version $(VERSION) $(PLACES) > "$(CMAKE_PACKAGE)/almadiaConfigVersion.cmake"

.PHONY: uninstall
uninstall: ## Removes what install installed with the same PREFIX and DESTDIR.
	rm -f $(foreach header,$(notdir $(HEADERS)),"$(DESTDIR)$(INCLUDEDIR)/$(header)")
	rm -f $(foreach name,libalmadia.so $(SONAME) libalmadia.so.$(VERSION),"$(LIBRARIES)/$(name)")
	rm -f "$(PKG_CONFIG_FILE)"
	rm -rf "$(CMAKE_PACKAGE)"

.PHONY: clean
clean: ## Removes what was built, except the dependencies (RocksDB): cargo clean removes them too.
	rm -rf $(TARGET)/programs $(TARGET)/lib
	cargo clean --release --package almadia --package almadia-c

.PHONY: help
help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

$(BUILT):
	@$(MAKE) --no-print-directory library

$(PROGRAMS)/member: examples/c/member.c examples/c/sha256.h examples/c/work.h $(HEADERS) | library
	@mkdir -p $(PROGRAMS)
	$(CC) $(C_FLAGS) $(CFLAGS) -o $@ $< $(C_LINK) $(LDFLAGS)

$(PROGRAMS)/reopen: tests/c/reopen.c tests/c/check.h $(HEADERS) | library
	@mkdir -p $(PROGRAMS)
	$(CC) -D_POSIX_C_SOURCE=200809L $(C_FLAGS) $(CFLAGS) -o $@ $< $(C_LINK) $(LDFLAGS)

$(PROGRAMS)/chaos_member: tests/c/chaos_member.c $(HEADERS) | library
	@mkdir -p $(PROGRAMS)
	$(CC) $(C_FLAGS) $(CFLAGS) -o $@ $< $(C_LINK) $(LDFLAGS)

$(PROGRAMS)/powerloss.so $(PROGRAMS)/hang.so $(PROGRAMS)/steps.so: $(PROGRAMS)/%.so: tests/shim/%.c
	@mkdir -p $(PROGRAMS)
	$(CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -shared -fPIC -o $@ $<

$(PROGRAMS)/powerloss_probe: tests/shim/powerloss_probe.c
	@mkdir -p $(PROGRAMS)
	$(CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -o $@ $<

# The same program through the 64-bit names of the C library.
$(PROGRAMS)/powerloss_probe64: tests/shim/powerloss_probe.c
	@mkdir -p $(PROGRAMS)
	$(CC) -std=gnu11 -O2 -g -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Werror -o $@ $<
