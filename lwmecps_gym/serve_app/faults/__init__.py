"""Kills parts of a platform at random, and counts what was lost: `lwmecps bench faults`."""
