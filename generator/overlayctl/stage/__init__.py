"""overlayctl reset and restore: leave a request in the backing directory, which the next boot carries out."""
