"""Plain throughput of the testbed's path: what `make bench` runs (README.md)."""
