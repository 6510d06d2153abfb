"""The groups of `lwmecps` commands."""
