"""A small disk to fill up: a tmpfs in the mount namespace of an isolated test, with which it goes."""

from __future__ import annotations

import subprocess
from pathlib import Path


def mounted(folder: Path, size_mb: int = 2) -> Path:
    """The folder, made anew as a disk of so many MB."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)], check=True)
    return folder


def fill(disk: Path) -> Path:
    """Leave room for nothing; the file that takes it all may be removed again."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            return filler
