# SPDX-License-Identifier: GPL-2.0-or-later

CACHE := $(or $(GMEM_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/qemu-gmem)
export CCACHE_DIR ?= $(CACHE)/ccache
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1
# ccache looks at the headers, and runs no preprocessor before each compiler
NINJA = CCACHE_DEPEND=1 ninja -C build $(if $(V),-v)

# Of the command line only: conda, tcsh and others export a HOST of their own.
DEMO_HOST := $(if $(findstring command line,$(origin HOST)),$(HOST),emulated)

.PHONY: all setup install clean distclean refresh-patches demo check
.PHONY: check-long bench docs help graft

all: graft
	@$(NINJA)

# Configures where that has not been done; re-grafts what has changed.
graft:
	@./configure --again

qemu-%: graft
	@$(NINJA) $@

install: all
	@DESTDIR='$(DESTDIR)' build/pyvenv/bin/meson install -C build --no-rebuild --quiet

clean:
	@if [ -f build/build.ninja ]; then $(NINJA) -t clean; fi

distclean:
	rm -rf build upstream upstream.*

refresh-patches:
	@scripts/refresh-patches '$(PATCH)'

# Everything below installs what it lacks (as root), builds and runs.
setup:
	@scripts/deps --install build features test
	@$(MAKE) --no-print-directory all

# Does what setup does itself, and shows it.
demo:
	@tests/demo '$(DEMO_HOST)'

docs:
	@scripts/deps --install build docs
	@./configure --again
	@scripts/docs

check: setup
	@tests/check

check-long: setup
	@scripts/deps --install docs long
	@tests/check --long

bench: setup
	@bench/run

help:
	@echo 'make                  configure where needed, build in build/'
	@echo 'make qemu-NAME        build one binary, such as qemu-img'
	@echo 'make install          install; DESTDIR= is honoured'
	@echo 'make demo             boot Linux on a guest_memfd; HOST=local'
	@echo 'make check            all tests; check-long: more of them'
	@echo 'make bench            measure; results in build/bench/results.json'
	@echo 'make docs             render the manual, in build/docs'
	@echo 'make refresh-patches  write patches/ from the edits in upstream/'
	@echo 'make clean            remove what has been compiled'
	@echo 'make distclean        remove build/ and upstream/'
	@echo 'V=1 shows the commands. The cache is $(CACHE)'
