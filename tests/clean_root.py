"""A minimal Debian in which packages are tried: it holds what they ask for and nothing else.

It is made by debootstrap from the mirror that apt on this host uses, and kept below build/ for the next run,
by what the packages depend on. Each try has a copy of its own, in mount, PID and network namespaces that end
with the caller.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
ROOTS = CHECKOUT / "build" / "roots"
NAMESPACES = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
EXTRA = "python3-venv"
"""What the wheel needs and the packages don't: pip."""

_MAKE = """
root=$1; suite=$2; mirror=$3; depends=$4
debootstrap --variant=minbase "$suite" "$root" "$mirror"
rm "$root/etc/apt/sources.list"
cp -r /etc/apt/. "$root/etc/apt/"
rm -f "$root/etc/apt/sources.list.d/"*.disabled*
for keys in /usr/share/keyrings /etc/apt/keyrings; do cp -rn "$keys" "$root${keys%/*}/"; done
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
printf '#!/bin/sh\\nexit 101\\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mount -t proc proc "$root/proc"
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get update
chroot "$root" apt-get satisfy -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io "$depends"
chroot "$root" apt-get clean
umount "$root/proc"
"""
_TRY = """
root=$1; packages=$2; script=$3
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
mount -t proc proc /mnt/root/proc
mount --rbind /sys /mnt/root/sys
mount --rbind /dev /mnt/root/dev
mount -t tmpfs tmpfs /mnt/root/run
mkdir /mnt/root/packages
mount --bind "$packages" /mnt/root/packages
ip link set lo up
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/tmp \\
    DEBIAN_FRONTEND=noninteractive chroot /mnt/root sh -ec "$script"
"""


def mirror() -> tuple[str, str] | None:
    """Suite and address of Debian's own packages, as apt on this host is set up; None: it is not Debian."""
    form = "$(CODENAME) $(REPO_URI) $(COMPONENT) $(ORIGIN)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        suite, address, component, origin = line.split(maxsplit=3)  # an origin may be of several words
        if (origin, component) == ("Debian", "main") and "-" not in suite:
            return suite, address
    return None


def depends(packages: Sequence[Path]) -> str:
    """What they need from others, as a list of dependencies."""
    fields = [["dpkg-deb", "--field", str(package), "Depends"] for package in packages]
    found = [subprocess.run(it, capture_output=True, text=True, check=True).stdout.strip() for it in fields]
    names = {package.name.partition("_")[0] for package in packages}
    return ", ".join(
        sorted({item for line in found for item in line.split(", ") if item.split()[0] not in names})
    )


def made(packages: Sequence[Path], suite: str, address: str, limit_s: float) -> Path:
    """A root for these packages, made unless it is there."""
    needs = f"{depends(packages)}, {EXTRA}"
    key = hashlib.sha256("\n".join((_MAKE, suite, address, needs)).encode()).hexdigest()[:16]
    root = ROOTS / key
    if not root.exists():
        shutil.rmtree(ROOTS, ignore_errors=True)
        part = root.with_suffix(".part")
        part.mkdir(parents=True)
        _run(_MAKE, (str(part), suite, address, needs), (), limit_s)
        part.rename(root)
    return root


def tried(root: Path, packages: Path, script: str, limit_s: float) -> str:
    """What a shell script prints, run there until its first error; the folder of packages is /packages."""
    return _run(_TRY, (str(root), str(packages), script), ("--net",), limit_s)


def _run(script: str, words: Sequence[str], namespaces: Sequence[str], limit_s: float) -> str:
    command = [*NAMESPACES, *namespaces, "sh", "-ec", script, "sh", *words]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit_s, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-5000:]}\nended with {done.returncode}"
    return done.stdout
