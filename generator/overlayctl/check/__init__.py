"""overlayctl check: the rules, a module for each thing that is looked at, and the verb that collects what they find."""
