"""What a process may do beyond its user's rights: Linux capabilities (capabilities(7)), given up for good.

Two system calls, and no library: those for Python have not been kept since 2021.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import structlog

NUMBERS = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
"""Those that a service of ours may have a use for (linux/capability.h)."""
_VERSION, _SETS, _HALF = 0x20080522, 3, 32
_BOUNDING_DROP, _NO_NEW_PRIVILEGES = 24, 38  # PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS
_KNOWN = 64

log = structlog.get_logger("capabilities")
_libc = ctypes.CDLL(None, use_errno=True)


def keep(*names: str, programs: bool = False) -> None:
    """Give up all but `names`, as far as this thread has them; what it starts gets no more than that.

    With `programs`, what it starts gets what its user's programs get: for a service that runs an operator's.
    To be called before there are other threads: the kernel knows these rights by thread. One that has more
    is told to the log, as is what is kept.
    """
    wanted = sum(1 << NUMBERS[name] for name in names)
    if not programs:
        _bound(wanted)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    rows = (ctypes.c_uint32 * (2 * _SETS))()  # effective, permitted, inheritable; of both halves
    _check(_libc.capget(header, rows))
    for place in range(len(rows)):
        rows[place] &= wanted >> _HALF * (place // _SETS) & 0xFFFFFFFF
    _check(_libc.capset(header, rows))  # what is ambient goes with what is inheritable
    beyond = sorted({name for task in Path("/proc/self/task").iterdir() for name in _held(task)} - {*names})
    if beyond:
        log.warning("a thread has capabilities that were to be given up", capabilities=beyond)
    log.info("capabilities given up", kept=held())


def _bound(wanted: int) -> None:
    """Programs get no more than this, whoever's they are."""
    for number in range(_KNOWN):
        # Refused beyond the last that the kernel knows, and without CAP_SETPCAP. What follows is enough then:
        # what a program has is within what we have.
        if not wanted >> number & 1 and _libc.prctl(_BOUNDING_DROP, number, 0, 0, 0):
            break
    _check(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def held() -> list[str]:
    """Those of this thread, by name: sorted, and `CAP_n` for one that no service of ours needs."""
    return sorted(_held(Path("/proc/thread-self")))


def _held(task: Path) -> set[str]:
    try:
        status = (task / "status").read_text()
    except OSError:  # it has ended
        return set()
    mask = int(status.partition("CapPrm:")[2].split()[0], 16)
    named = {number: name for name, number in NUMBERS.items()}
    return {named.get(number, f"CAP_{number}") for number in range(_KNOWN) if mask >> number & 1}


def _check(code: int) -> None:
    if code:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
