"""Reads an upper layer against a lower one, as overlayfs merges them. The library of diff, export and stage."""
