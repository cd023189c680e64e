"""Fig. 7: chains are added under load."""
