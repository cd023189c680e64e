"""The crash points that an add and a remove of the chain MOVING pass, in the order of their first passing.

After every store write and every outgoing call. `tests/unit/test_mgmt_crash_points.py` holds that the list is
complete; `tests/e2e/test_crash_points.py` kills the real service at each of them.
"""

MOVING = "moving"
POINTS = (
    "call to controller: check moving",
    "store write: moving shall be present",
    "call to controller: network",
    "call to controller: chains",
    "call to l1: health",
    "call to l1: pairs",
    "call to controller: steer moving",
    "store write: moving is steered",
    "call to l1: add pair moving",
    "store write: moving is active",
    "store write: moving shall be absent",
    "call to l1: remove pair moving",
    "store write: moving is cooling",
    "call to l1: active? moving",
    "call to l2: active? moving",
    "store write: moving is drained",
    "call to l1: forget pair moving",
    "call to controller: unsteer moving",
    "store write: moving is removed",
)
