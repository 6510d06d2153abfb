"""The REST API on Ray Serve."""
