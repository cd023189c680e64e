"""The witness: taps that note which session passed where, and the judge of a run.

It knows nothing of the load balancers' internals and believes none of their counters. What may not happen
here: no import of another service, and none of the balancers' packet parser.  `checker` and what it imports
are pure: a recording in, a verdict out.  The shells are `taps` and `live` (libbpf), `pcaps` and `cli`.
"""
