"""What runs at boot for an upper layer that persists: the services that overlay-generator(8) emits call it."""
