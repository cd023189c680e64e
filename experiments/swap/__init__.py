"""Chains are added and removed in one request."""
