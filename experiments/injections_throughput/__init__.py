"""Fig. 6: one IDS with 20,000 injections."""
