"""overlayctl save: what the generator reads on a machine, packed as a case of tests/cases."""
