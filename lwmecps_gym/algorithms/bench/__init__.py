"""Measurements of training: how fast, and whether it learns what RLlib's own parts learn."""
