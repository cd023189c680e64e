"""What is attached at tc clsact, whoever did that: by its number, or opened."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass

from catenary import libbpf
from catenary.libbpf_abi import BpfError, check, library


@dataclass(frozen=True)
class Attached:
    """A program that somebody attached, and the map asked for: None if it has no map of that name."""

    program: libbpf.Program
    map: libbpf.Map | None

    def close(self) -> None:
        libbpf.close_fd(self.program.fd)
        if self.map is not None:
            libbpf.close_fd(self.map.fd)


def attached_id(ifindex: int, *, handle: int = 1, priority: int = libbpf.PREFERENCE) -> int | None:
    """The kernel's number of what is at tc ingress at this handle and priority; None if nothing is."""
    ffi, lib, _ = library()
    opts = ffi.new("struct tc_opts *")
    opts.sz, opts.handle, opts.priority = ffi.sizeof("struct tc_opts"), handle, priority
    code = lib.bpf_tc_query(libbpf.hook(ifindex, libbpf.INGRESS), opts)
    if code in (-errno.ENOENT, -errno.EINVAL):
        return None
    check(code, f"query of interface {ifindex}")
    return int(opts.prog_id)


def attached(ifindex: int, map_name: str) -> Attached | None:
    """What is at tc ingress where ours goes; None if nothing is. To be closed. Needs CAP_SYS_ADMIN."""
    ffi, lib, _ = library()
    number = attached_id(ifindex)
    if number is None:
        return None
    program = check(lib.bpf_prog_get_fd_by_id(number), f"program {number}")
    try:
        ids = ffi.new("uint32_t[64]")
        info = ffi.new("struct prog_info *", {"maps": 64, "map_ids": int(ffi.cast("uintptr_t", ids))})
        libbpf.read_facts(program, info)
        found = (libbpf.map_by_id(ids[i]) for i in range(min(info.maps, 64)))
        return Attached(
            libbpf.Program(ffi.string(info.name).decode(), program), _first_named(found, map_name)
        )
    except BpfError:
        libbpf.close_fd(program)
        raise


def _first_named(maps: Iterator[libbpf.Map], name: str) -> libbpf.Map | None:
    """The first map of this name; all others are closed."""
    result = None
    for item in maps:
        if result is None and item.name == name:
            result = item
        else:
            libbpf.close_fd(item.fd)
    return result
