"""A detecting NF that prevents nothing."""
