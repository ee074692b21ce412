################################################################################
#
# overlay-generator
#
################################################################################

# The tree that this file lies in: nothing is downloaded.
OVERLAY_GENERATOR_SITE = $(BR2_EXTERNAL_OVERLAY_GENERATOR_PATH)/../..
OVERLAY_GENERATOR_SITE_METHOD = local
OVERLAY_GENERATOR_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude /tests --exclude /docs
OVERLAY_GENERATOR_LICENSE = LGPL-2.1+
OVERLAY_GENERATOR_LICENSE_FILES = LICENSE
OVERLAY_GENERATOR_DEPENDENCIES = host-python3

OVERLAY_GENERATOR_PYTHON = $(HOST_DIR)/bin/python3
OVERLAY_GENERATOR_MOUNTS = $(call qstrip,$(BR2_PACKAGE_OVERLAY_GENERATOR_MOUNTS))

# Python as it is run at boot takes compiled files from __pycache__, or where
# there are no sources from beside them. Buildroot's own step for that knows
# /usr/lib/python3.X alone.
ifeq ($(BR2_PACKAGE_PYTHON3_PYC_ONLY),y)
define OVERLAY_GENERATOR_CHOOSE_FILES
	for cache in $$(find $(TARGET_DIR)/usr/lib/overlay-generator -name __pycache__); do \
		for file in $$cache/*.pyc; do \
			name=$${file##*/}; \
			mv $$file $${cache%/*}/$${name%%.*}.pyc || exit 1; \
		done; \
		rm -f $${cache%/*}/*.py; \
		rmdir $$cache || exit 1; \
	done
endef
endif

define OVERLAY_GENERATOR_INSTALL
	$(MAKE) -C $(@D) $(1) DESTDIR=$(TARGET_DIR) PREFIX=/usr \
		PYTHON=$(OVERLAY_GENERATOR_PYTHON) \
		COMPILE=$(if $(BR2_PACKAGE_PYTHON3_PY_ONLY),no,yes)
endef

# In the tree as it will be packed, after tmpfiles.d was acted on: a directory
# that can't be overlaid is found here and not on the device.
ifeq ($(BR2_PACKAGE_OVERLAY_GENERATOR_STATIC),y)
define OVERLAY_GENERATOR_RENDER
	PYTHONPATH=$(OVERLAY_GENERATOR_DIR)/generator \
		$(OVERLAY_GENERATOR_PYTHON) -B -m overlayctl render \
		--root $(TARGET_DIR) \
		--cmdline 'overlayfs.mounts=$(OVERLAY_GENERATOR_MOUNTS)' \
		$(if $(BR2_PACKAGE_OVERLAY_GENERATOR_ALWAYS),--always) \
		--output $(TARGET_DIR)
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
	echo "overlay-generator: the kernel command line needs overlayfs.mounts=$(OVERLAY_GENERATOR_MOUNTS)"
endef
OVERLAY_GENERATOR_ROOTFS_PRE_CMD_HOOKS += OVERLAY_GENERATOR_CHECK
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
