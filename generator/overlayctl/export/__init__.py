"""overlayctl export: the changes as a tar for the next build of the image."""
