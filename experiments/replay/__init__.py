"""Replays a capture through the chains, and compares what became of it (README.md)."""
