"""One page from all results."""
