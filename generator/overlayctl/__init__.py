"""overlayctl: the operator's command for the overlays that overlay-generator makes, see overlayctl(1)."""
