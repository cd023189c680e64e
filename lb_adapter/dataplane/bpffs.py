"""Folders on a BPF file system, in which maps outlive their process."""

from __future__ import annotations

import subprocess
from pathlib import Path

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
