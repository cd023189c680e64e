"""Fig. 3: two pairs in a row."""
