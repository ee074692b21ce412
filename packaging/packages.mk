# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# Packs the last commit, never uncommitted files; results go to dist/. Included by the Makefile. Two runs give the same
# bytes: every time in a package is that of the commit, or of the package's changelog.

version = $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' generator/overlay_generator/__init__.py)
name = overlay-generator-$(version)
pypi_name = overlay_generator-$(version)
archive = dist/$(name).tar.gz
work = build/packages/$@
# Any Python with cyclonedx-python-lib; for make pypi also with build, setuptools and wheel.
PACKER ?= $(if $(wildcard $(environment)/bin/python),$(environment)/bin/python,python3)
RPMBUILD ?= rpmbuild

# The sources as others get them, in an empty directory: a file that the archive lacks is noticed here.
unpack = umask 022 && rm -rf $(work) && mkdir -p $(work) && tar -xzf $(archive) -C $(work)

# Whoever gets the files can tell that they are these. A name of this version, as others may lie beside it.
sums = cd dist && sha256sum -- $$(ls | grep -E "^($(name)|$(pypi_name))[.-]") >SHA256SUMS.part && \
	mv SHA256SUMS.part SHA256SUMS

.PHONY: dist archive pypi deb rpm packages-check builders-check

# The archive with what is said of it: a bill of materials, CycloneDX, and checksums.
dist: archive
	@$(PACKER) -c 'import cyclonedx' 2>/dev/null || \
		{ echo 'make dist: $(PACKER) has no cyclonedx-python-lib; give another one as PACKER=' >&2; exit 2; }
	umask 022 && $(PACKER) packaging/sbom.py $(archive) $$(git log -1 --format=%ct) >dist/$(name).cdx.json
	umask 022 && $(sums)

# The sources alone, for which git and gzip are enough.
archive:
	@prefix=$$(git rev-parse --show-prefix 2>/dev/null) && [ -z "$$prefix" ] && git rev-parse -q --verify HEAD >/dev/null || \
		{ echo 'make dist: this is not a git checkout' >&2; exit 2; }
	umask 022 && mkdir -p dist && \
		git -c tar.umask=0022 archive --format=tar --prefix=$(name)/ -o $(archive).part HEAD && \
		gzip -9nc $(archive).part >$(archive)
	rm $(archive).part

# setuptools writes the current time and the user into the source archive, and before version 69 gives it a name with a
# hyphen, like that of `make dist`. So it is repacked.
pypi: archive
	$(unpack)
	umask 022 && export SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) && cd $(work) && \
		{ $(PACKER) -m build --no-isolation --outdir . $(name) >log 2>&1 || { cat log >&2; exit 1; }; } && \
		mkdir sources && tar -xzf overlay?generator-$(version).tar.gz -C sources --strip-components=1 && \
		tar --sort=name --format=ustar --mtime=@$$SOURCE_DATE_EPOCH --owner=root:0 --group=root:0 \
			--mode=u+rw,go=rX --transform='s,^sources,$(pypi_name),' -cf $(pypi_name).tar sources && gzip -9n $(pypi_name).tar
	mv $(work)/$(pypi_name).tar.gz $(work)/*.whl dist/
	umask 022 && $(sums)

deb: archive
	$(unpack)
	cp $(archive) $(work)/overlay-generator_$(version).orig.tar.gz
	cp -Rp $(work)/$(name)/packaging/debian $(work)/$(name)/debian
	umask 022 && cd $(work)/$(name) && dpkg-buildpackage -us -uc
	mv $(work)/overlay-generator_* $(work)/overlayctl_* dist/

# On a machine whose own packages are not RPMs, the RPM database knows none of the tools: RPMBUILD='rpmbuild --nodeps'.
rpm: archive
	rm -rf $(work)
	umask 022 && $(RPMBUILD) -ta --define '_topdir $(CURDIR)/$(work)' --define '_buildhost localhost' $(archive)
	mv $(work)/RPMS/noarch/*.rpm $(work)/SRPMS/*.rpm dist/

# Takes minutes, needs root and the network: Debian trees are made for it.
packages-check:
	PACKAGES=yes $(pytest) tests/packaging

# With the builders' own trees; tests whose tree is not given are skipped, and named. Nothing is compiled, but BitBake
# reads all recipes several times, which takes minutes for each test. For the releases see docs/getting-started-*.md.
#   make builders-check BUILDROOT=PATH OECORE=PATH BITBAKE=PATH METAOE=PATH
# METAOE is meta-openembedded, for overlayctl. BitBake does not run as root: then it is run as nobody.
builders-check:
	BUILDROOT='$(BUILDROOT)' OECORE='$(OECORE)' BITBAKE='$(BITBAKE)' METAOE='$(METAOE)' $(pytest) -rs \
		tests/packaging/test_real_buildroot.py tests/packaging/test_real_yocto.py tests/packaging/test_python_packages.py
