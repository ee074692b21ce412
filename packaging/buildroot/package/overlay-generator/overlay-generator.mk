################################################################################
#
# overlay-generator
#
################################################################################

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# Without a version legal-info leaves the package out. A test checks that it is
# the product's own version.
OVERLAY_GENERATOR_VERSION = 0.1.0
# The tree that contains this file: nothing is downloaded. If the package is
# copied into another tree, OVERLAY_GENERATOR_OVERRIDE_SRCDIR in local.mk gives
# the place of the sources.
OVERLAY_GENERATOR_SITE = $(abspath $(OVERLAY_GENERATOR_PKGDIR)/../../../..)
OVERLAY_GENERATOR_SITE_METHOD = local
# Only what `make install` reads: a checkout may contain anything.
OVERLAY_GENERATOR_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--include /LICENSE --include /Makefile \
	--include /generator/ --include /lib/ --include /packaging/ \
	--exclude '/*' --exclude __pycache__ --exclude '*.egg-info'
OVERLAY_GENERATOR_LICENSE = LGPL-2.1+
OVERLAY_GENERATOR_LICENSE_FILES = LICENSE
OVERLAY_GENERATOR_DEPENDENCIES = host-python3

OVERLAY_GENERATOR_PYTHON = $(HOST_DIR)/bin/python3
OVERLAY_GENERATOR_MOUNTS = $(call qstrip,$(BR2_PACKAGE_OVERLAY_GENERATOR_MOUNTS))
OVERLAY_GENERATOR_LIBRARY = $(TARGET_DIR)/usr/lib/overlay-generator
OVERLAY_GENERATOR_INSTALLED = $(TARGET_DIR)/usr/lib/systemd/system-generators/overlay-generator

OVERLAY_GENERATOR_HERE = \
	$(wildcard $(OVERLAY_GENERATOR_OVERRIDE_SRCDIR)/generator/overlay_generator/__init__.py)
OVERLAY_GENERATOR_MISSING = overlay-generator: there are no sources of it in \
	$(OVERLAY_GENERATOR_OVERRIDE_SRCDIR). Use its packaging/buildroot where it \
	lies, or set OVERLAY_GENERATOR_OVERRIDE_SRCDIR in local.mk to a checkout

# A wrong tree, copied as the sources, can be as large as the build machine's
# disk. legal-info copies too, and does not count as a build.
define OVERLAY_GENERATOR_REFUSE_ANOTHER_TREE
	$(if $(OVERLAY_GENERATOR_HERE),,$(error $(OVERLAY_GENERATOR_MISSING)))
endef
OVERLAY_GENERATOR_PRE_RSYNC_HOOKS += OVERLAY_GENERATOR_REFUSE_ANOTHER_TREE

# At boot, Python takes compiled files from __pycache__ or, if there are no
# sources, from the directory of the sources. Buildroot's own step for that only
# covers /usr/lib/python3.X.
ifeq ($(BR2_PACKAGE_OVERLAY_GENERATOR_AT_BOOT)$(BR2_PACKAGE_PYTHON3_PYC_ONLY),yy)
define OVERLAY_GENERATOR_CHOOSE_FILES
	find $(OVERLAY_GENERATOR_LIBRARY) -path '*/__pycache__/*.pyc' | while read -r file; do \
		name=$${file##*/}; \
		mv "$$file" "$${file%/__pycache__/*}/$${name%%.*}.pyc" || exit 1; \
	done
	find $(OVERLAY_GENERATOR_LIBRARY) -name '*.py' -delete
	find $(OVERLAY_GENERATOR_LIBRARY) -name __pycache__ -empty -delete
endef
endif

define OVERLAY_GENERATOR_INSTALL
	$(TARGET_MAKE_ENV) $(MAKE) -C $(@D) $(1) DESTDIR=$(TARGET_DIR) PREFIX=/usr \
		PYTHON=$(OVERLAY_GENERATOR_PYTHON) \
		COMPILE=$(if $(BR2_PACKAGE_PYTHON3_PY_ONLY),no,yes)
endef

define OVERLAY_GENERATOR_TELL_THE_WORD
	$(call MESSAGE,"overlay-generator: the kernel command line needs overlayfs.mounts=$(OVERLAY_GENERATOR_MOUNTS)")
endef

# In the tree as it will be packed, after tmpfiles.d was applied: a directory
# that can't be overlaid is found here, not on the device.
ifeq ($(BR2_PACKAGE_OVERLAY_GENERATOR_STATIC),y)
define OVERLAY_GENERATOR_RENDER
	if [ -e $(OVERLAY_GENERATOR_INSTALLED) ]; then \
		echo "overlay-generator: the target directory still has the generator from before" \
			"units made with the image were chosen: make clean all" >&2; \
		exit 1; \
	fi
	PYTHONPATH=$(OVERLAY_GENERATOR_DIR)/generator \
		$(OVERLAY_GENERATOR_PYTHON) -B -m overlayctl render \
		--root $(TARGET_DIR) \
		--cmdline 'overlayfs.mounts=$(OVERLAY_GENERATOR_MOUNTS)' \
		$(if $(BR2_PACKAGE_OVERLAY_GENERATOR_ALWAYS),--always) \
		--output $(TARGET_DIR)
	$(if $(BR2_PACKAGE_OVERLAY_GENERATOR_ALWAYS),,$(OVERLAY_GENERATOR_TELL_THE_WORD))
endef
OVERLAY_GENERATOR_ROOTFS_PRE_CMD_HOOKS += OVERLAY_GENERATOR_RENDER
else
define OVERLAY_GENERATOR_INSTALL_GENERATOR
	$(call OVERLAY_GENERATOR_INSTALL,install-generator)
endef
define OVERLAY_GENERATOR_CHECK
	PYTHONPATH=$(OVERLAY_GENERATOR_DIR)/generator \
		$(OVERLAY_GENERATOR_PYTHON) -B -m overlay_generator.dryrun \
		--root $(TARGET_DIR) \
		--cmdline 'overlayfs.mounts=$(OVERLAY_GENERATOR_MOUNTS)' \
		--print >/dev/null
	$(OVERLAY_GENERATOR_TELL_THE_WORD)
endef
OVERLAY_GENERATOR_ROOTFS_PRE_CMD_HOOKS += OVERLAY_GENERATOR_CHECK

# With reproducible file systems, two releases can be equal in everything that
# distinguishes images at boot, including Buildroot's own os-release.
ifeq ($(BR2_REPRODUCIBLE),y)
define OVERLAY_GENERATOR_CHECK_RELEASE
	grep -Eqs '^(IMAGE_VERSION|BUILD_ID)=' $(TARGET_DIR)/etc/os-release || \
		$(call MESSAGE,"overlay-generator: WARNING: BR2_REPRODUCIBLE and no IMAGE_VERSION= in os-release: \
			an update of the image may not be noticed by a persistent upper layer")
endef
OVERLAY_GENERATOR_ROOTFS_PRE_CMD_HOOKS += OVERLAY_GENERATOR_CHECK_RELEASE
endif
endif

ifeq ($(BR2_PACKAGE_OVERLAY_GENERATOR_OVERLAYCTL),y)
define OVERLAY_GENERATOR_INSTALL_OVERLAYCTL
	$(call OVERLAY_GENERATOR_INSTALL,install-overlayctl)
endef
endif

define OVERLAY_GENERATOR_INSTALL_TARGET_CMDS
	$(OVERLAY_GENERATOR_INSTALL_GENERATOR)
	$(OVERLAY_GENERATOR_INSTALL_OVERLAYCTL)
	$(OVERLAY_GENERATOR_CHOOSE_FILES)
endef

define OVERLAY_GENERATOR_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_OVERLAY_FS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_TMPFS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_TMPFS_XATTR)
endef

$(eval $(generic-package))

# Fail in the first second of a build rather than after hours, but not if no
# build was asked for.
ifeq ($(BR2_PACKAGE_OVERLAY_GENERATOR)$(BR_BUILDING),yy)
$(OVERLAY_GENERATOR_REFUSE_ANOTHER_TREE)
endif
