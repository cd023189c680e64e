"""What the Makefile runs: installing, and the pages that are written from the code."""
