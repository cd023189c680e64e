"""Folders on a BPF file system, in which maps outlive their process."""

from __future__ import annotations

import subprocess
from pathlib import Path

from catenary import libbpf
from catenary.errors import Unsupported

_BPF_FS_MAGIC = 0xCAFE4A11


def make_bpffs(folder: Path) -> None:
    """Make `folder`, or say that it does not lie on a BPF file system."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unsupported(f"{folder} can't be made: {error.strerror}") from error
    kind = subprocess.run(
        ["stat", "-f", "-c", "%t", str(folder)], capture_output=True, text=True, check=True
    ).stdout.strip()
    if int(kind, 16) != _BPF_FS_MAGIC:
        raise Unsupported(f"{folder} is not on bpffs: mount -t bpf none {folder.parent}")


def pinned_size(pin: Path) -> int | None:
    """Size of the session table in a pin folder, None if there is none."""
    found = libbpf.pinned_map(pin / "pins4")
    if found is None:
        return None
    libbpf.close_fd(found.fd)
    return found.max_entries


def unpin(pin: Path) -> bool:
    """Remove a pin folder with its maps; False if nothing is pinned there.

    Whatever is attached keeps its own hold on them. On bpffs, `unlink` is all that a pin is undone with.
    """
    if pinned_size(pin) is None:
        return False
    for item in pin.iterdir():
        item.unlink()
    pin.rmdir()
    return True
