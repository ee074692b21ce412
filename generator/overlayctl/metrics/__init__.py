"""overlayctl metrics: the status in numbers, for what watches many devices."""
