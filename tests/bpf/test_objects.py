"""What the kernel makes of the load balancer's BPF objects: sizes, and the capabilities that they need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI

from lb_adapter.dataplane.ebpf import EbpfDataPlane

ROOT = Path(__file__).parent.parent.parent
CAPABILITIES = ("bpf", "net_admin", "perfmon")
"""All that loading and attaching needs: `perfmon` because the parser subtracts packet pointers."""
VERIFIED_MOST = 500_000
"""Instructions that the verifier may walk. The kernel gives up at 1,000,000."""
XLATED_MOST = {"outer": 7300, "inner": 14600, "walk": 1300, "sweep": 2500}

_CDEF = """
struct prog_info { uint32_t type, id; uint8_t tag[8]; uint32_t jited_len, xlated_len; uint64_t insns[2];
  uint64_t load_time; uint32_t uid, nr_map_ids; uint64_t map_ids; char name[16]; uint32_t ifindex, gpl;
  uint64_t netns[2]; uint32_t nr_jited_ksyms, nr_jited_func_lens; uint64_t jited_ksyms, jited_func_lens;
  uint32_t btf_id, func_info_size; uint64_t func_info; uint32_t nr_func_info, nr_line_info;
  uint64_t line_info, jited_line_info; uint32_t nr_jited_line_info, line_info_size, jited_line_info_size,
  nr_prog_tags; uint64_t prog_tags, run_time_ns, run_cnt, recursion_misses;
  uint32_t verified_insns, attach_btf_obj_id, attach_btf_id, zero; };
int bpf_obj_get_info_by_fd(int fd, void *info, uint32_t *length);
"""


def info_of(fd: int) -> Any:
    """`struct bpf_prog_info` of a loaded program (linux/bpf.h)."""
    ffi = FFI()
    ffi.cdef(_CDEF)
    info, length = ffi.new("struct prog_info *"), ffi.new("uint32_t *", ffi.sizeof("struct prog_info"))
    assert ffi.dlopen("libbpf.so.1").bpf_obj_get_info_by_fd(fd, info, length) == 0
    return info


@pytest.mark.parametrize("name", ["outer", "inner", "walk", "sweep"])
def test_instruction_counts(name: str, record_property: Any) -> None:
    plane = EbpfDataPlane(pins=1024)
    try:
        info = info_of(plane.object.program(name).fd)
        counts = {
            "xlated": info.xlated_len // 8,
            "jited bytes": info.jited_len,
            "verified": info.verified_insns,
        }
    finally:
        plane.close()
    print(f"{name}: " + ", ".join(f"{what} {count}" for what, count in counts.items()))
    for what, count in counts.items():
        record_property(f"{name} {what}", count)
    assert 0 < counts["xlated"] <= XLATED_MOST[name]
    assert 0 < counts["verified"] <= VERIFIED_MOST


def test_object_loads_with_the_daemons_capabilities_alone() -> None:
    load = "from lb_adapter.dataplane.ebpf import EbpfDataPlane; EbpfDataPlane(pins=1024).close()"
    bounds = ",".join(["-all", *(f"+{name}" for name in CAPABILITIES)])
    command = ["setpriv", f"--bounding-set={bounds}", f"--inh-caps={bounds}", sys.executable, "-c", load]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
