"""Prepares the layers of overlays at boot; called by the services that overlay-generator(8) generates."""
