"""A small cffi binding (ABI mode) to libbpf 1.x: load, attach at tc clsact, read and write maps, test-run.

Keys and values are bytes in the layout of the C structs; numpy reads batches of them. Every failure is a
`BpfError` with the errno and the last words of libbpf or of the verifier.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catenary.errors import Unsupported
from catenary.libbpf_abi import BpfError, Layout, check, library, log, tick_rate

INGRESS, EGRESS = 1, 2
PREFERENCE = 1
"""Of our filters at tc: none sees a frame before them."""
ANY, NOEXIST, EXIST = 0, 1, 2
_REPLACE = 1
_SKB_SIZE = 192  # struct __sk_buff; its cb[5] starts at byte 48
_SKB_CB = 48


@dataclass(frozen=True)
class TestRun:
    """The outcome of one `BPF_PROG_TEST_RUN`: verdict, frame out, skb->cb[0..4], mean time in ns."""

    __test__ = False
    verdict: int
    frame: bytes
    cb: tuple[int, ...]
    duration_ns: int


@dataclass(frozen=True)
class Program:
    name: str
    fd: int

    @property
    def tag(self) -> str:
        """The kernel's digest of its instructions, in hex: equal for what was compiled from the same."""
        return bytes(self._facts().tag).hex()

    @property
    def id(self) -> int:
        """The kernel's number of it."""
        return int(self._facts().id)

    def _facts(self) -> Any:
        info = library()[0].new("struct prog_info *")
        read_facts(self.fd, info)
        return info

    def run(self, frame: bytes, *, ifindex: int = 1, repeat: int = 1) -> TestRun:
        """Run the program on `frame`, as if it had come in through interface `ifindex`."""
        ffi, lib, _ = library()
        data, out = ffi.from_buffer(frame), ffi.new("char[]", len(frame) + 256)
        ctx_in, ctx_out = ffi.new("char[]", _SKB_SIZE), ffi.new("char[]", _SKB_SIZE)
        ffi.cast("uint32_t *", ctx_in)[10] = ifindex  # skb->ifindex
        opts = ffi.new("struct run_opts *")
        opts.sz, opts.repeat = ffi.sizeof("struct run_opts"), repeat
        opts.data_in, opts.data_size_in = data, len(frame)
        opts.data_out, opts.data_size_out = out, len(frame) + 256
        opts.ctx_in, opts.ctx_size_in = ctx_in, _SKB_SIZE
        opts.ctx_out, opts.ctx_size_out = ctx_out, _SKB_SIZE
        check(lib.bpf_prog_test_run_opts(self.fd, opts), f"test run of {self.name}")
        cb = ffi.cast("uint32_t *", ctx_out + _SKB_CB)
        return TestRun(
            int(opts.retval),
            bytes(ffi.buffer(out, opts.data_size_out)),
            tuple(int(cb[i]) for i in range(5)),
            int(opts.duration),
        )

    def call(self) -> int:
        """Run a `SEC("syscall")` program once and return what it returns."""
        ffi, lib, _ = library()
        opts = ffi.new("struct run_opts *")
        opts.sz = ffi.sizeof("struct run_opts")
        check(lib.bpf_prog_test_run_opts(self.fd, opts), f"call of {self.name}")
        return int(ffi.cast("int32_t", opts.retval))

    def bind(self, item: Map) -> None:
        """Have the program hold a map that its code does not name: it lives as long, and is found by it."""
        lib = library()[1]
        code = lib.bpf_prog_bind_map(self.fd, item.fd, library()[0].NULL)
        if code != -errno.EEXIST:
            check(code, f"bind map {item.name} to {self.name}")

    def attach(
        self, ifindex: int, point: int = INGRESS, *, handle: int = 1, priority: int = PREFERENCE
    ) -> None:
        """Attach at tc clsact, in place of what stands at the same handle and priority (atomic)."""
        ffi, lib, _ = library()
        place = hook(ifindex, point)
        code = lib.bpf_tc_hook_create(place)
        if code not in (0, -errno.EEXIST):
            check(code, f"clsact on interface {ifindex}")
        opts = ffi.new("struct tc_opts *")
        opts.sz, opts.prog_fd, opts.flags = ffi.sizeof("struct tc_opts"), self.fd, _REPLACE
        opts.handle, opts.priority = handle, priority
        check(lib.bpf_tc_attach(place, opts), f"attach {self.name} to interface {ifindex}")


def hook(ifindex: int, point: int) -> Any:
    """libbpf's name for tc clsact on an interface."""
    ffi, _, _ = library()
    place = ffi.new("struct tc_hook *")
    place.sz, place.ifindex, place.attach_point = ffi.sizeof("struct tc_hook"), ifindex, point
    return place


def map_by_id(number: int) -> Map:
    """To be closed. Needs CAP_SYS_ADMIN."""
    return _map_of(check(library()[1].bpf_map_get_fd_by_id(number), f"map {number}"))


def pinned_map(path: Path) -> Map | None:
    """A map by its path on bpffs, None if there is none. To be closed."""
    fd = library()[1].bpf_obj_get(str(path).encode())
    if fd == -errno.ENOENT:
        return None
    return _map_of(check(fd, f"pinned map {path}"))


def _map_of(fd: int) -> Map:
    info = _map_info(fd)
    ffi = library()[0]
    return Map(ffi.string(info.name).decode(), fd, info.key_size, info.value_size, info.max_entries)


def _map_info(fd: int) -> Any:
    info = library()[0].new("struct map_info *")
    read_facts(fd, info)
    return info


def read_facts(fd: int, info: Any) -> None:
    """What the kernel tells of a program or map: a `struct prog_info` or `map_info`."""
    ffi, lib, _ = library()
    size = ffi.new("uint32_t *", ffi.sizeof(info[0]))
    check(lib.bpf_obj_get_info_by_fd(fd, info, size), f"facts of descriptor {fd}")


def detach(ifindex: int, point: int = INGRESS, *, handle: int = 1, priority: int = PREFERENCE) -> None:
    """Detach the program at this handle and priority; nothing there is no error."""
    ffi, lib, _ = library()
    opts = ffi.new("struct tc_opts *")
    opts.sz, opts.handle, opts.priority = ffi.sizeof("struct tc_opts"), handle, priority
    code = lib.bpf_tc_detach(hook(ifindex, point), opts)
    if code not in (0, -errno.ENOENT, -errno.EINVAL):
        check(code, f"detach from interface {ifindex}")


@dataclass(frozen=True)
class Map:
    """A map by descriptor. Per-CPU maps give the values of all possible CPUs in a row, 8-byte aligned."""

    name: str
    fd: int
    key_size: int
    value_size: int
    max_entries: int
    per_cpu: bool = False

    @property
    def id(self) -> int:
        """The kernel's number of it: two descriptors of one map have the same."""
        return int(_map_info(self.fd).id)

    @property
    def layout(self) -> Layout:
        info = _map_info(self.fd)
        return Layout(info.type, info.key_size, info.value_size, info.max_entries, info.flags)

    @property
    def row_size(self) -> int:
        """Bytes of one value as user space sees it."""
        if not self.per_cpu:
            return self.value_size
        return (self.value_size + 7) // 8 * 8 * possible_cpus()

    def get(self, key: bytes) -> bytes | None:
        ffi, lib, _ = library()
        value = ffi.new("char[]", self.row_size)
        code = lib.bpf_map_lookup_elem(self.fd, ffi.from_buffer(key), value)
        if code == -errno.ENOENT:
            return None
        check(code, f"look-up in map {self.name}")
        return bytes(ffi.buffer(value, self.row_size))

    def set(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        ffi, lib, _ = library()
        if len(key) != self.key_size or len(value) != self.row_size:
            raise BpfError(f"map {self.name} wants {self.key_size} + {self.row_size} bytes", errno.EINVAL)
        code = lib.bpf_map_update_elem(self.fd, ffi.from_buffer(key), ffi.from_buffer(value), flags)
        check(code, f"update of map {self.name}")

    def delete(self, key: bytes) -> bool:
        """True if the key was there."""
        ffi, lib, _ = library()
        code = lib.bpf_map_delete_elem(self.fd, ffi.from_buffer(key))
        if code == -errno.ENOENT:
            return False
        check(code, f"delete from map {self.name}")
        return True

    def update(self, keys: bytes, values: bytes) -> int:
        """Set many entries of a hash map, given in rows; how many found room."""
        ffi, lib, _ = library()
        total, done = len(keys) // self.key_size, 0
        while done < total:
            count = ffi.new("uint32_t *", total - done)
            code = lib.bpf_map_update_batch(
                self.fd,
                ffi.from_buffer(keys) + done * self.key_size,
                ffi.from_buffer(values) + done * self.row_size,
                count,
                ffi.NULL,
            )
            done += int(count[0])
            if code == -errno.E2BIG:
                break  # the map is full
            check(code, f"batch update of map {self.name}")
        return done

    def batches(self, size: int = 16384) -> Iterator[tuple[bytes, bytes]]:
        """All entries of a hash map as (keys, values) in rows, `size` entries or fewer at a time."""
        ffi, lib, _ = library()
        token_in, token_out = ffi.NULL, ffi.new("char[]", max(4, self.key_size))
        while True:
            keys = ffi.new("char[]", self.key_size * size)
            values = ffi.new("char[]", self.row_size * size)
            count = ffi.new("uint32_t *", size)
            code = lib.bpf_map_lookup_batch(self.fd, token_in, token_out, keys, values, count, ffi.NULL)
            if code == -errno.ENOSPC:
                size *= 2  # one bucket holds more than a batch
                continue
            if code != -errno.ENOENT:
                check(code, f"batch look-up in map {self.name}")
            n = int(count[0])
            if n:
                yield (
                    bytes(ffi.buffer(keys, n * self.key_size)),
                    bytes(ffi.buffer(values, n * self.row_size)),
                )
            if code == -errno.ENOENT:
                return
            token_in, token_out = token_out, ffi.new("char[]", max(4, self.key_size))

    def values(self) -> bytes:
        """All values of an array map, one after the other; of a per-CPU one each CPU's."""
        return b"".join(values for _, values in self.batches(self.max_entries))


def possible_cpus() -> int:
    return int(library()[1].libbpf_num_possible_cpus())


def create_array(name: str, value_size: int, max_entries: int) -> Map:
    """A new BPF_MAP_TYPE_ARRAY, such as the inner map of a map of maps. Close it with `close_fd`."""
    ffi, lib, _ = library()
    fd = check(
        lib.bpf_map_create(2, name.encode()[:15], 4, value_size, max_entries, ffi.NULL), f"create map {name}"
    )
    return Map(name, fd, 4, value_size, max_entries)


def close_fd(fd: int) -> None:
    os.close(fd)


def _open(path: Path) -> Any:
    ffi, lib, _ = library()
    log.clear()
    if not path.exists():
        raise Unsupported(f"{path} is not built: run `make build`")
    kconfig = ffi.new("char[]", f"CONFIG_HZ={tick_rate()}".encode())
    opts = ffi.new("struct open_opts *", {"sz": ffi.sizeof("struct open_opts"), "kconfig": kconfig})
    pointer = lib.bpf_object__open_file(str(path).encode(), opts)
    if pointer == ffi.NULL:
        raise BpfError(f"open {path}", ffi.errno)
    return pointer


def layouts(path: Path, *, max_entries: dict[str, int] | None = None) -> dict[str, Layout]:
    """The maps that a compiled object asks for, by name; `max_entries` in place of what it says itself."""
    ffi, lib, _ = library()
    pointer, sizes = _open(path), max_entries or {}
    result = {}
    for item in _maps(pointer):
        name = ffi.string(lib.bpf_map__name(item)).decode()
        result[name] = Layout(
            lib.bpf_map__type(item),
            lib.bpf_map__key_size(item),
            lib.bpf_map__value_size(item),
            sizes.get(name, lib.bpf_map__max_entries(item)),
            lib.bpf_map__map_flags(item),
        )
    lib.bpf_object__close(pointer)
    return result


def _maps(pointer: Any) -> Iterator[Any]:
    """The maps that an object's source declares."""
    ffi, lib, _ = library()
    item = lib.bpf_object__next_map(pointer, ffi.NULL)
    while item != ffi.NULL:
        # Those with a dot are sections (.bss, .kconfig).
        if b"." not in ffi.string(lib.bpf_map__name(item)):
            yield item
        item = lib.bpf_object__next_map(pointer, item)


class Object:
    """A compiled BPF object. With `pin`, its maps live in that bpffs folder, and what is there is reused."""

    def __init__(
        self, path: Path, *, max_entries: dict[str, int] | None = None, pin: Path | None = None
    ) -> None:
        ffi, lib, _ = library()
        self._pointer = _open(path)
        for name, entries in (max_entries or {}).items():
            check(lib.bpf_map__set_max_entries(self._find_map(name), entries), f"size of map {name}")
        if pin is not None:
            for item in _maps(self._pointer):
                target = str(pin / ffi.string(lib.bpf_map__name(item)).decode())
                check(lib.bpf_map__set_pin_path(item, target.encode()), f"pin {target}")
        check(lib.bpf_object__load(self._pointer), f"load {path.name}")

    def _find_map(self, name: str) -> Any:
        ffi, lib, _ = library()
        found = lib.bpf_object__find_map_by_name(self._pointer, name.encode())
        if found == ffi.NULL:
            raise BpfError(f"no map {name}", errno.ENOENT)
        return found

    def map(self, name: str, *, per_cpu: bool = False) -> Map:
        lib = library()[1]
        item = self._find_map(name)
        return Map(
            name,
            int(lib.bpf_map__fd(item)),
            int(lib.bpf_map__key_size(item)),
            int(lib.bpf_map__value_size(item)),
            int(lib.bpf_map__max_entries(item)),
            per_cpu,
        )

    def program(self, name: str) -> Program:
        ffi, lib, _ = library()
        found = lib.bpf_object__find_program_by_name(self._pointer, name.encode())
        if found == ffi.NULL:
            raise BpfError(f"no program {name}", errno.ENOENT)
        return Program(name, int(lib.bpf_program__fd(found)))

    def close(self) -> None:
        """Close all descriptors; what is pinned or attached stays."""
        ffi, lib, _ = library()
        if self._pointer != ffi.NULL:
            lib.bpf_object__close(self._pointer)
            self._pointer = ffi.NULL
