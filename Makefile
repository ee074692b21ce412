# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# Install, check, show; packaging/packages.mk packs. `make help` lists the targets; README.md explains them.
#
# DESTDIR and PREFIX as usual; every path below can be set. PYTHON is the interpreter of the image: its version is part
# of the names of the compiled files. For a tree that you can chroot into: PYTHON='chroot TREE /usr/bin/python3'.
# COMPILE=no leaves compiling to other tools, as in a distribution's packages.

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
fishcompletionsdir ?= $(PREFIX)/share/fish/vendor_completions.d
zshcompletionsdir ?= $(PREFIX)/share/zsh/site-functions
schemadir ?= $(PREFIX)/share/overlay-generator/schemas
# What journalctl -x shows; the tools of an image's builder run journalctl --update-catalog.
catalogdir ?= $(PREFIX)/lib/systemd/catalog
# The path of Python in the image, for scripts and units.
interpreter ?= /usr/bin/python3
# Not exported: a make that runs below this one, as in tests, has its own paths.
settings := DESTDIR PYTHON COMPILE bindir librarydir generatordir unitdir mandir completionsdir fishcompletionsdir \
    zshcompletionsdir schemadir catalogdir interpreter
put_or_remove = $(foreach name,$(settings),$(name)='$(subst ','\'',$($(name)))') packaging/install

.PHONY: help install install-generator install-overlayctl uninstall check check-foreign lint crash fuzz fuzz-parsers mutants \
    bench boots cost demo picture site catalog completions clean

help:
	@echo 'make install [DESTDIR=…] [PREFIX=/usr] [PYTHON=…]   put it into an image'
	@echo 'make install-generator, make install-overlayctl     only one part; overlayctl needs the generator'
	@echo 'make uninstall [DESTDIR=…] [PREFIX=/usr]            remove exactly that again'
	@echo 'make check                                          all tests except the boots and packages-check'
	@echo 'make check-foreign [ARCHITECTURES="s390x armhf"]    the tests that start no program, emulated (root)'
	@echo 'make lint                                           only the static checks'
	@echo 'make crash [CRASH="--fs xfs --minutes 60"]          boot from disks as power cuts leave them (root)'
	@echo 'make fuzz                                           500 and 2000 random histories of each kind (root)'
	@echo 'make fuzz-parsers [MINUTES=10] [ONLY="fstab reset"]  random inputs for what reads a disk or a boot loader'
	@echo 'make mutants [COUNT=30]                             random small changes that no test notices (root)'
	@echo 'make bench                                          what a boot, diff, preview and Rollback= cost'
	@echo 'make boots [ONLY=SCENARIO] [SUITES=trixie] [ARCHITECTURES="arm64 armhf"]   boot virtual machines (root)'
	@echo 'make cost                                           measure boots side by side, write docs/boot-cost.md (root)'
	@echo 'make completions                                    write those of the shells anew, after a change of a verb'
	@echo 'make site                                           the documentation as a site, into build/site/html'
	@echo 'make demo                                           boot one and show it (root)'
	@echo 'make picture                                       the same, drawn for the README (root)'
	@echo 'make catalog                                        write the text of journalctl -x from docs/troubleshooting.md'
	@echo 'make dist, make pypi, make deb, make rpm            pack the last commit, into dist/, with checksums and an SBOM'
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

# Tools from the environment that tests/needs makes, otherwise from PATH.
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
	HISTORIES=500 $(pytest) tests/prepare/test_image_change.py tests/prepare/test_rollback_history.py \
	    tests/overlayctl/preview/test_truth.py
	HISTORIES=2000 $(pytest) tests/overlayctl/layers/test_walk.py -k mounted_view

fuzz-parsers:
	$(python) tests/fuzz/fuzz.py --minutes $(or $(MINUTES),10) $(ONLY)

mutants:
	$(if $(wildcard $(environment)/bin/python),$(environment)/bin/python,python3) tests/mutate.py --count $(or $(COUNT),30)

bench:
	python3 tests/bench/boot.py
	python3 tests/bench/diff.py
	python3 tests/bench/preview.py
	python3 tests/bench/rollback.py

# mipsel works too. tests/needs machines installs what this needs.
check-foreign:
	$(python) tests/foreign/check.py $(ARCHITECTURES)

# SUITES='bullseye bookworm trixie sid' has systemd 247, 252, 257 and the newest. tests/needs boots installs the tools.
# ARCHITECTURES='arm64 armhf': these scenarios on other, emulated machines; needs tests/needs machines.
each_machine := flag-off flag-on persistent-ext4 image-update power-cut missing-disk-nofail
boots:
	python3 tests/boot/run.py $(addprefix --suite ,$(SUITES)) $(addprefix --architecture ,$(ARCHITECTURES)) \
	    $(if $(ARCHITECTURES),--icount) $(or $(ONLY),$(if $(ARCHITECTURES),$(each_machine)))

cost:
	python3 tests/boot/cost.py

demo:
	tests/demo

# The documentation as files, for a browser or a web server: build/site/html.
site:
	$(python) packaging/site/build.py build/site

# After a change of the section Events in docs/troubleshooting.md.
catalog:
	packaging/make-catalog >packaging/overlay-generator.catalog.new
	mv packaging/overlay-generator.catalog.new packaging/overlay-generator.catalog

# Of a verb or an option that is new, for all shells.
completions:
	python3 packaging/completions/generate.py

# The picture in the README, from a boot (root).
picture:
	$(python) tests/boot/demo.py --picture docs/terminal.svg

clean:
	rm -rf build dist generator/*.egg-info
	find generator tests -name __pycache__ -prune -exec rm -rf {} +

include packaging/packages.mk
