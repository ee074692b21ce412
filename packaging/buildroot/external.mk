include $(sort $(wildcard $(BR2_EXTERNAL_OVERLAY_GENERATOR_PATH)/package/*/*.mk))
