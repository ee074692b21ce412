"""overlayctl status: what the overlays of this machine do, and whether that is what was asked for."""
