"""The load balancer: one daemon with a role, `master` or `slave`.

Python decides, packets never touch Python.  What may not happen here: `balancer` and `peering` do no I/O and
read no clock; only `dataplane` touches interfaces and maps; nothing imports another service.
"""
