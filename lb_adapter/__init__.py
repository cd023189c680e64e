"""The load balancer: one daemon with a role, `master` or `slave`.

Python decides, packets never touch Python.  What may not happen here: `balancer` and `peering` do no I/O and
read no clock; only `dataplane` touches interfaces and maps; nothing imports another service.
"""

import os

# Read when numpy is loaded: threads for linear algebra, of which there is none here, would keep the rights
# that a daemon gives up (`catenary.capabilities`).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
