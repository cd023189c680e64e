"""Attacks on the promise: a random simulator of the pair, and the verdict on every session in it."""
