# Install, check, show. `make help` tells what there is; README.md tells why.
#
# DESTDIR and PREFIX as usual, every path below can be set. PYTHON is the interpreter of the image: its version
# names the compiled files. For a tree that can be entered: PYTHON='chroot TREE /usr/bin/python3'.

DESTDIR ?=
PREFIX ?= /usr
PYTHON ?= /usr/bin/python3
INSTALL ?= install

librarydir ?= $(PREFIX)/lib/overlay-generator
generatordir ?= $(PREFIX)/lib/systemd/system-generators
mandir ?= $(PREFIX)/share/man

package := overlay_generator
modules := $(notdir $(wildcard generator/$(package)/*.py))
installed_modules := $(addprefix $(librarydir)/$(package)/,$(modules))

# Relative to DESTDIR, so that it works inside a chroot of it too. Unchecked: the image's times mean nothing, and
# an interpreter that compares them would compile again at each boot. py_compile is in python3-minimal.
compile := import sys, py_compile as p; [p.compile(f, dfile="/" + f, doraise=True, \
	invalidation_mode=p.PycInvalidationMode.UNCHECKED_HASH) for f in sys.argv[1:]]

.PHONY: help install uninstall check lint fuzz bench boots demo clean

help:
	@echo 'make install [DESTDIR=…] [PREFIX=/usr] [PYTHON=…]   put it into an image'
	@echo 'make uninstall [DESTDIR=…] [PREFIX=/usr]            take exactly that away'
	@echo 'make check                                          all tests but the boots'
	@echo 'make lint                                           the static checks among them'
	@echo 'make fuzz                                           500 histories over each kind of image (root)'
	@echo 'make bench                                          what a boot pays, as ratios and counts'
	@echo 'make boots [ONLY=SCENARIO] [SUITES=trixie]          boot virtual machines (root)'
	@echo 'make demo                                           boot one and show it (root)'

install:
	$(INSTALL) -d '$(DESTDIR)$(librarydir)/$(package)' '$(DESTDIR)$(generatordir)' '$(DESTDIR)$(mandir)/man8'
	$(INSTALL) -m 644 $(addprefix generator/$(package)/,$(modules)) '$(DESTDIR)$(librarydir)/$(package)'
	$(INSTALL) -m 755 generator/prepare '$(DESTDIR)$(librarydir)/prepare'
	$(INSTALL) -m 755 lib/systemd/system-generators/overlay-generator '$(DESTDIR)$(generatordir)/overlay-generator'
	sed -i 's|"/usr/lib/overlay-generator"|"$(librarydir)"|' \
		'$(DESTDIR)$(librarydir)/prepare' '$(DESTDIR)$(generatordir)/overlay-generator'
	$(INSTALL) -m 644 packaging/man/overlay-generator.8 '$(DESTDIR)$(mandir)/man8/overlay-generator.8'
	cd '$(DESTDIR)/' && $(PYTHON) -c '$(compile)' $(patsubst /%,%,$(installed_modules))

uninstall:
	rm -f '$(DESTDIR)$(generatordir)/overlay-generator' '$(DESTDIR)$(mandir)/man8/overlay-generator.8'
	rm -f '$(DESTDIR)$(librarydir)/prepare' $(addprefix $(DESTDIR),$(installed_modules))
	rm -f $(patsubst %.py,$(DESTDIR)$(librarydir)/$(package)/__pycache__/%.*.pyc,$(modules))
	-rmdir '$(DESTDIR)$(librarydir)/$(package)/__pycache__' '$(DESTDIR)$(librarydir)/$(package)' \
		'$(DESTDIR)$(librarydir)'

# Tools of the environment that tests/needs makes, else those in PATH.
environment := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/overlay-generator/venv
pytest := $(if $(wildcard $(environment)/bin/python),$(environment)/bin/python,python3) -m pytest

check:
	$(pytest)

lint:
	$(pytest) tests/test_lint.py

fuzz:
	HISTORIES=500 $(pytest) tests/test_image_change.py

bench:
	python3 tests/bench.py

# SUITES='bullseye bookworm trixie sid' has systemd 247, 252, 257 and the newest.
boots:
	python3 tests/boot/run.py $(addprefix --suite ,$(SUITES)) $(ONLY)

demo:
	tests/demo

clean:
	rm -rf build dist generator/*.egg-info
	find generator tests -name __pycache__ -prune -exec rm -rf {} +
