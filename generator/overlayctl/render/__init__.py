"""overlayctl render: the plan of the generator as static units, for images without Python."""
