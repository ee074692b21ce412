# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# Install, check, show; packaging/packages.mk packs. `make help` tells what there is; README.md tells why.
#
# DESTDIR and PREFIX as usual, every path below can be set. PYTHON is the interpreter of the image: its version
# names the compiled files. For a tree that can be entered: PYTHON='chroot TREE /usr/bin/python3'.
# COMPILE=no leaves compiling to somebody else, as a distribution's packages do.

DESTDIR ?=
PREFIX ?= /usr
PYTHON ?= /usr/bin/python3
COMPILE ?= yes

bindir ?= $(PREFIX)/bin
librarydir ?= $(PREFIX)/lib/overlay-generator
generatordir ?= $(PREFIX)/lib/systemd/system-generators
unitdir ?= $(PREFIX)/lib/systemd/system
mandir ?= $(PREFIX)/share/man
completionsdir ?= $(PREFIX)/share/bash-completion/completions
schemadir ?= $(PREFIX)/share/overlay-generator/schemas
# What the scripts and the units start Python with: a path in the image.
interpreter ?= /usr/bin/python3
# Not by export: a make that runs below this one, as in tests, has paths of its own.
settings := DESTDIR PYTHON COMPILE bindir librarydir generatordir unitdir mandir completionsdir schemadir interpreter
put_or_remove = $(foreach name,$(settings),$(name)='$(subst ','\'',$($(name)))') packaging/install

.PHONY: help install install-generator install-overlayctl uninstall check check-foreign lint crash fuzz mutants bench \
    boots cost demo clean

help:
	@echo 'make install [DESTDIR=…] [PREFIX=/usr] [PYTHON=…]   put it into an image'
	@echo 'make install-generator, make install-overlayctl     one part of it; overlayctl needs the other'
	@echo 'make uninstall [DESTDIR=…] [PREFIX=/usr]            take exactly that away'
	@echo 'make check                                          all tests but the boots and packages-check'
	@echo 'make check-foreign [ARCHITECTURES="s390x armhf"]    those that start no program, emulated (root)'
	@echo 'make lint                                           the static checks among them'
	@echo 'make crash [CRASH="--fs xfs --minutes 60"]          what disks have after power cuts, booted and judged (root)'
	@echo 'make fuzz                                           500 and 2000 random histories (root)'
	@echo 'make mutants [COUNT=30]                             small changes by chance, and which no test notices (root)'
	@echo 'make bench                                          what a boot pays, as ratios and counts'
	@echo 'make boots [ONLY=SCENARIO] [SUITES=trixie] [ARCHITECTURES="arm64 armhf"]   boot virtual machines (root)'
	@echo 'make cost                                           measure boots side by side, write docs/boot-cost.md (root)'
	@echo 'make demo                                           boot one and show it (root)'
	@echo 'make dist, make pypi, make deb, make rpm            pack the last commit, into dist/'
	@echo 'make builders-check BUILDROOT=… OECORE=…           try the parts for Buildroot and Yocto in their own trees'
	@echo 'make packages-check                                 install, upgrade, remove the packages (root)'

install:
	@$(put_or_remove) put generator overlayctl

install-generator:
	@$(put_or_remove) put generator

install-overlayctl:
	@$(put_or_remove) put overlayctl

uninstall:
	@$(put_or_remove) remove generator overlayctl

# Tools of the environment that tests/needs makes, else those in PATH.
environment := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/overlay-generator/venv
python := $(if $(wildcard $(environment)/bin/python),$(environment)/bin/python,python3)
pytest := $(python) -m pytest

check:
	$(pytest)

lint:
	$(pytest) tests/test_lint.py

crash:
	python3 tests/crash/crash.py $(CRASH)

fuzz:
	HISTORIES=500 $(pytest) tests/prepare/test_image_change.py
	HISTORIES=2000 $(pytest) tests/overlayctl/layers/test_walk.py -k mounted_view

mutants:
	$(if $(wildcard $(environment)/bin/python),$(environment)/bin/python,python3) tests/mutate.py --count $(or $(COUNT),30)

bench:
	python3 tests/bench/boot.py
	python3 tests/bench/diff.py

# mipsel is known too. tests/needs machines installs what it wants.
check-foreign:
	$(python) tests/foreign/check.py $(ARCHITECTURES)

# SUITES='bullseye bookworm trixie sid' has systemd 247, 252, 257 and the newest. tests/needs boots installs what it wants.
# ARCHITECTURES='arm64 armhf': these scenarios on emulated machines of other kinds; tests/needs machines.
each_machine := flag-off flag-on persistent-ext4 image-update power-cut missing-disk-nofail
boots:
	python3 tests/boot/run.py $(addprefix --suite ,$(SUITES)) $(addprefix --architecture ,$(ARCHITECTURES)) \
	    $(if $(ARCHITECTURES),--icount) $(or $(ONLY),$(if $(ARCHITECTURES),$(each_machine)))

cost:
	python3 tests/boot/cost.py

demo:
	tests/demo

clean:
	rm -rf build dist generator/*.egg-info
	find generator tests -name __pycache__ -prune -exec rm -rf {} +

include packaging/packages.mk
