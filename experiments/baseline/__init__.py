"""Throughput of the testbed with bridges and with load balancers in their place."""
