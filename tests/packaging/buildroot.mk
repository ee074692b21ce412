# As much of Buildroot's package infrastructure as overlay-generator.mk uses, by the names and rules of Buildroot's
# manual. Given: EXTERNAL, the br2-external tree; BASE, an empty directory; BR2_ variables as .config has them.

BR2_EXTERNAL_OVERLAY_GENERATOR_PATH := $(EXTERNAL)
BUILD_DIR := $(BASE)/build
HOST_DIR := $(BASE)/host
TARGET_DIR := $(BASE)/target
OVERLAY_GENERATOR_DIR := $(BUILD_DIR)/overlay-generator-custom
INSTALL := install

define sep


endef
qstrip = $(strip $(subst ",,$(1)))
KCONFIG_ENABLE_OPT = echo '$(1)=y' >>$(BASE)/linux.config
generic-package = known := $$(known) overlay-generator

include $(EXTERNAL)/external.mk

# The recipes below are run where Buildroot runs them, with its meaning of $(@D).
$(OVERLAY_GENERATOR_DIR)/.stamp_target_installed: $(OVERLAY_GENERATOR_DIR)/.stamp_rsynced
	$(OVERLAY_GENERATOR_INSTALL_TARGET_CMDS)
	touch $@

$(OVERLAY_GENERATOR_DIR)/.stamp_rsynced:
	mkdir -p $(@D) $(TARGET_DIR)
	tar -C $(OVERLAY_GENERATOR_SITE) -c --anchored --exclude './.?*' \
		$(patsubst /%,./%,$(OVERLAY_GENERATOR_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS)) . | tar -C $(@D) -x
	touch $@

.PHONY: install kernel rootfs dependencies
install: $(OVERLAY_GENERATOR_DIR)/.stamp_target_installed

kernel:
	$(OVERLAY_GENERATOR_LINUX_CONFIG_FIXUPS)

# These hooks are no recipes: Buildroot writes them into a script, which it runs below fakeroot.
rootfs: install
	$(file >$(BASE)/fakeroot,set -e$(sep)$(foreach hook,$(OVERLAY_GENERATOR_ROOTFS_PRE_CMD_HOOKS),$($(hook))$(sep)))
	sh $(BASE)/fakeroot

dependencies:
	@echo $(known): $(OVERLAY_GENERATOR_DEPENDENCIES)
