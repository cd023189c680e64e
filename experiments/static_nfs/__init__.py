"""Fig. 5: throughput with a fixed number of NFs."""
