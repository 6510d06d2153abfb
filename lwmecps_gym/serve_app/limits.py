"""Limits that the deployment and the routes share."""

MAX_WATCHERS = 500
"""How many may follow trainings by streams of events at once, in one replica of the API."""
MAX_REQUESTS = 2 * MAX_WATCHERS
"""How many requests one replica works on at once: a stream is one that lasts, so that others find
a place beside all of them."""
