# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# As much of Buildroot's package infrastructure as overlay-generator.mk uses, by the names and rules of Buildroot's
# manual. Given: EXTERNAL, the br2-external tree; BASE, an empty directory; BR2_ variables as .config has them.
# With a checkout of Buildroot, test_real_buildroot.py has its own Makefile do the same.

BR2_EXTERNAL_OVERLAY_GENERATOR_PATH := $(EXTERNAL)
BR2_PACKAGE_OVERLAY_GENERATOR ?= y
BR_BUILDING ?= y
BUILD_DIR := $(BASE)/build
HOST_DIR := $(BASE)/host
TARGET_DIR := $(BASE)/target
TARGET_MAKE_ENV = PATH=$(HOST_DIR)/bin:$(PATH)
OVERLAY_GENERATOR_DIR = $(BUILD_DIR)/overlay-generator$(addprefix -,$(OVERLAY_GENERATOR_VERSION))
INSTALL := install

define sep


endef
qstrip = $(strip $(subst ",,$(1)))
MESSAGE = echo ">>> $(call qstrip,$(1))"
KCONFIG_ENABLE_OPT = echo '$(1)=y' >>$(BASE)/linux.config
pkgdir = $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
define generic-package
known := $$(known) overlay-generator
OVERLAY_GENERATOR_PKGDIR = $(pkgdir)
OVERLAY_GENERATOR_OVERRIDE_SRCDIR ?= $$(OVERLAY_GENERATOR_SITE)
endef

include $(EXTERNAL)/external.mk

# The recipes below are run where Buildroot runs them, with its meaning of $(@D).
$(OVERLAY_GENERATOR_DIR)/.stamp_target_installed: $(OVERLAY_GENERATOR_DIR)/.stamp_rsynced
	$(OVERLAY_GENERATOR_INSTALL_TARGET_CMDS)
	touch $@

$(OVERLAY_GENERATOR_DIR)/.stamp_rsynced:
	mkdir -p $(@D) $(TARGET_DIR)
	$(foreach hook,$(OVERLAY_GENERATOR_PRE_RSYNC_HOOKS),$(call $(hook))$(sep))
	rsync -au --chmod=u=rwX,go=rX $(OVERLAY_GENERATOR_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS) --exclude .git \
		$(call qstrip,$(OVERLAY_GENERATOR_OVERRIDE_SRCDIR))/ $(@D)
	touch $@

.PHONY: rsync install kernel rootfs dependencies
rsync: $(OVERLAY_GENERATOR_DIR)/.stamp_rsynced
install: $(OVERLAY_GENERATOR_DIR)/.stamp_target_installed

kernel:
	$(OVERLAY_GENERATOR_LINUX_CONFIG_FIXUPS)

# These hooks are not recipes: Buildroot writes them into a script, which it runs under fakeroot.
rootfs: install
	$(file >$(BASE)/fakeroot,set -e$(sep)$(foreach hook,$(OVERLAY_GENERATOR_ROOTFS_PRE_CMD_HOOKS),$($(hook))$(sep)))
	sh $(BASE)/fakeroot

dependencies:
	@echo $(known): $(OVERLAY_GENERATOR_DEPENDENCIES)
