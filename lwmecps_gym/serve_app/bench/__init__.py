"""Measures how fast models answer through Ray Serve, beside plain uvicorn."""
