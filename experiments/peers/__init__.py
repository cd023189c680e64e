"""Catenary and its rivals in the same place, under the same load and changes."""
