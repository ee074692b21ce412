"""overlayctl diff: what was changed against the image."""
