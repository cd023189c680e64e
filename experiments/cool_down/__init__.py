"""Fig. 8: chains are removed under load."""
