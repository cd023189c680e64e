"""What `make package` builds, in a Debian that has nothing else: installed, tried, the demo run, purged."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from catenary import __version__
from tests.clean_root import CHECKOUT, made, mirror, tried
from topologies.patience import PATIENCE_S

LIMIT_S = 900.0
DIST = CHECKOUT / "dist"
COMPILED = {"lb_adapter/bpf/splice.bpf.o", "lb_adapter/native/libsplice.so", "lb_adapter/native/worker"}
# An empty /opt is dpkg's to remove: it is no package's.
SCRIPT = f"""
files() {{
    find /boot /etc /home /opt /root /srv /usr /var -xdev 2>/dev/null | sort |
        grep -Ev '^/(opt$|var/(cache|log|lib/dpkg|lib/apt)(/|$))'
}}
files > /tmp/before
apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io /packages/*.deb

[ "$(catenary version)" = {__version__} ]
catenary doctor --json > /tmp/doctor.json || [ $? = 1 ]
grep -q kernel /tmp/doctor.json
man=$(find /usr/share/man -name 'catenary.1.gz') && [ -s "$man" ]
[ -z "$(find /etc/systemd /run/systemd -name 'catenary*' 2>/dev/null)" ]
getent passwd catenary
! pgrep -f /opt/catenary

mount -t bpf bpf /sys/fs/bpf 2>/dev/null || true
catenary-demo --brief --results /tmp/demo || [ $? = 1 ]
/opt/catenary/bin/python - <<'END'
import json
demo = json.load(open("/tmp/demo/summary.json"))
figures = {{key: figure["value"] for key, figure in demo["figures"].items()}}
none = ("violations", "bypassed", "failed_requests", "leftovers")
assert figures["sessions"] > 100 and not any(figures[key] for key in none), figures
END

python3 -m venv /tmp/venv
/tmp/venv/bin/pip install --no-index --no-deps /packages/*.whl
echo /opt/catenary/lib/python3*/site-packages > /tmp/others.pth
cp /tmp/others.pth /tmp/venv/lib/python3*/site-packages/
rm -rf /tmp/venv/lib/python3*/site-packages/pip
[ "$(/tmp/venv/bin/catenary version)" = {__version__} ]
/tmp/venv/bin/python -c 'import lb_adapter; print(lb_adapter.__file__)' | grep -q ^/tmp/venv
/tmp/venv/bin/catenary doctor --json > /tmp/doctor.json || [ $? = 1 ]
grep -q 'loads, and decides' /tmp/doctor.json
grep -q 'carries, in' /tmp/doctor.json
/tmp/venv/bin/catenary ms run --network /usr/share/doc/catenary/examples/service.yaml --db /tmp/wheel.db &
ms=$!
timeout {PATIENCE_S:g} /tmp/venv/bin/python - <<'END'
import time
from catenary.client import ManagementClient
from catenary.errors import Unavailable
with ManagementClient() as management:
    while True:
        try:
            assert management.health().leads
            break
        except Unavailable:  # not yet
            time.sleep(0.1)
END
kill $ms
wait $ms

touch /etc/catenary/network.yaml
apt-get purge -y catenary catenary-testbed
files > /tmp/after
diff /tmp/before /tmp/after
echo all done
"""
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("debootstrap", "dh"))), reason="needs debootstrap: run tools/install.sh test"
)


def nothing_knows_where_it_was_built(packages: list[Path], folder: Path) -> None:
    for package in packages:
        subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
    found = subprocess.run(["grep", "-rl", str(CHECKOUT), str(folder)], capture_output=True, text=True)
    shutil.rmtree(folder)
    assert found.stdout == ""


@pytest.mark.e2e
def test_packages_and_wheel_serve_in_a_clean_root(tmp_path: Path) -> None:
    debian = mirror()
    if debian is None:
        pytest.skip("apt on this host knows no Debian mirror")
    own = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    subprocess.run(["make", "package"], cwd=CHECKOUT, check=True, env=own, timeout=LIMIT_S)
    (wheel,) = DIST.glob("*.whl")
    assert wheel.name.startswith(f"catenary-{__version__}-py3-none-linux_")
    assert set(zipfile.ZipFile(wheel).namelist()) >= COMPILED
    packages = sorted(DIST.glob("*.deb"))
    nothing_knows_where_it_was_built(packages, tmp_path)
    root = made(packages, *debian, LIMIT_S)
    said = tried(root, DIST, SCRIPT, LIMIT_S)
    assert said.endswith("all done\n"), said
