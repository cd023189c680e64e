"""A small cffi binding (ABI mode) to libbpf 1.x: load, attach at tc clsact, read and write maps, test-run.

Keys and values are bytes in the layout of the C structs; numpy reads batches of them. Every failure is a
`BpfError` with the errno and the last words of libbpf or of the verifier.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cffi import FFI

from catenary.errors import CatenaryError, Unsupported

_CDEF = """
typedef struct bpf_object bpf_object; typedef struct bpf_program bpf_program; typedef struct bpf_map bpf_map;
bpf_object *bpf_object__open_file(const char *path, const void *opts);
int bpf_object__load(bpf_object *); void bpf_object__close(bpf_object *);
bpf_program *bpf_object__find_program_by_name(const bpf_object *, const char *);
bpf_map *bpf_object__find_map_by_name(const bpf_object *, const char *);
bpf_map *bpf_object__next_map(const bpf_object *, const bpf_map *);
const char *bpf_map__name(const bpf_map *);
int bpf_program__fd(const bpf_program *); int bpf_map__fd(const bpf_map *);
int bpf_map__set_max_entries(bpf_map *, uint32_t); int bpf_map__set_pin_path(bpf_map *, const char *);
uint32_t bpf_map__key_size(const bpf_map *); uint32_t bpf_map__value_size(const bpf_map *);
uint32_t bpf_map__max_entries(const bpf_map *);
int bpf_map_create(int type, const char *name, uint32_t key, uint32_t value, uint32_t max, const void *opts);
int bpf_map_lookup_elem(int fd, const void *key, void *value);
int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags);
int bpf_map_delete_elem(int fd, const void *key);
struct batch_opts { size_t sz; uint64_t elem_flags; uint64_t flags; };
int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, uint32_t *count, void *opts);
struct tc_hook { size_t sz; int ifindex; int attach_point; uint32_t parent; };
struct tc_opts { size_t sz; int prog_fd; uint32_t flags, prog_id, handle, priority; };
int bpf_tc_hook_create(struct tc_hook *); int bpf_tc_hook_destroy(struct tc_hook *);
int bpf_tc_attach(const struct tc_hook *, struct tc_opts *);
int bpf_tc_detach(const struct tc_hook *, const struct tc_opts *);
struct run_opts { size_t sz; const void *data_in; void *data_out; uint32_t data_size_in, data_size_out;
  const void *ctx_in; void *ctx_out; uint32_t ctx_size_in, ctx_size_out, retval; int repeat;
  uint32_t duration, flags, cpu, batch_size; };
int bpf_prog_test_run_opts(int fd, struct run_opts *);
int libbpf_num_possible_cpus(void);
typedef int (*print_fn)(int level, const char *format, void *args); print_fn libbpf_set_print(print_fn);
int vsnprintf(char *, size_t, const char *, void *);
int close(int);
"""
INGRESS, EGRESS = 1, 2
ANY, NOEXIST, EXIST = 0, 1, 2
_REPLACE = 1
_SKB_SIZE = 192  # struct __sk_buff; its cb[5] starts at byte 48
_SKB_CB = 48

_log: list[str] = []


class BpfError(CatenaryError):
    """A call to libbpf or the kernel failed; `errno` says how."""

    def __init__(self, what: str, code: int) -> None:
        self.errno = abs(code)
        words = " ".join("".join(_log[-6:]).split())[-400:]
        super().__init__(f"{what}: {os.strerror(self.errno)}" + (f" ({words})" if words else ""))


@cache
def _library() -> tuple[FFI, Any, Any]:
    ffi = FFI()
    ffi.cdef(_CDEF)
    try:
        lib = ffi.dlopen("libbpf.so.1")
    except OSError as error:
        raise Unsupported("libbpf.so.1 is missing: apt install libbpf1 (or run `make demo`)") from error
    libc = ffi.dlopen(None)

    @ffi.callback("int(int, const char *, void *)")  # type: ignore[untyped-decorator]
    def _keep(level: int, form: Any, args: Any) -> int:
        # Debug chatter is dropped; warnings are kept for the next BpfError instead of going to stderr.
        if level <= 1:
            buffer = ffi.new("char[]", 2048)
            libc.vsnprintf(buffer, 2048, form, args)
            _log.append(ffi.string(buffer).decode(errors="replace"))
            del _log[:-20]
        return 0

    lib.libbpf_set_print(_keep)
    return ffi, lib, _keep


def _check(code: int, what: str) -> int:
    if code < 0:
        raise BpfError(what, code if code != -1 else _library()[0].errno or errno.EIO)
    return code


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

    def run(self, frame: bytes, *, ifindex: int = 1, repeat: int = 1) -> TestRun:
        """Run the program on `frame`, as if it had come in through interface `ifindex`."""
        ffi, lib, _ = _library()
        data, out = ffi.from_buffer(frame), ffi.new("char[]", len(frame) + 256)
        ctx_in, ctx_out = ffi.new("char[]", _SKB_SIZE), ffi.new("char[]", _SKB_SIZE)
        ffi.cast("uint32_t *", ctx_in)[10] = ifindex  # skb->ifindex
        opts = ffi.new("struct run_opts *")
        opts.sz, opts.repeat = ffi.sizeof("struct run_opts"), repeat
        opts.data_in, opts.data_size_in = data, len(frame)
        opts.data_out, opts.data_size_out = out, len(frame) + 256
        opts.ctx_in, opts.ctx_size_in = ctx_in, _SKB_SIZE
        opts.ctx_out, opts.ctx_size_out = ctx_out, _SKB_SIZE
        _check(lib.bpf_prog_test_run_opts(self.fd, opts), f"test run of {self.name}")
        cb = ffi.cast("uint32_t *", ctx_out + _SKB_CB)
        return TestRun(
            int(opts.retval),
            bytes(ffi.buffer(out, opts.data_size_out)),
            tuple(int(cb[i]) for i in range(5)),
            int(opts.duration),
        )

    def call(self) -> int:
        """Run a `SEC("syscall")` program once and return what it returns."""
        ffi, lib, _ = _library()
        opts = ffi.new("struct run_opts *")
        opts.sz = ffi.sizeof("struct run_opts")
        _check(lib.bpf_prog_test_run_opts(self.fd, opts), f"call of {self.name}")
        return int(ffi.cast("int32_t", opts.retval))

    def attach(self, ifindex: int, point: int = INGRESS, *, handle: int = 1, priority: int = 1) -> None:
        """Attach at tc clsact, in place of what stands at the same handle and priority (atomic)."""
        ffi, lib, _ = _library()
        hook = _hook(ifindex, point)
        code = lib.bpf_tc_hook_create(hook)
        if code not in (0, -errno.EEXIST):
            _check(code, f"clsact on interface {ifindex}")
        opts = ffi.new("struct tc_opts *")
        opts.sz, opts.prog_fd, opts.flags = ffi.sizeof("struct tc_opts"), self.fd, _REPLACE
        opts.handle, opts.priority = handle, priority
        _check(lib.bpf_tc_attach(hook, opts), f"attach {self.name} to interface {ifindex}")


def _hook(ifindex: int, point: int) -> Any:
    ffi, _, _ = _library()
    hook = ffi.new("struct tc_hook *")
    hook.sz, hook.ifindex, hook.attach_point = ffi.sizeof("struct tc_hook"), ifindex, point
    return hook


def detach(ifindex: int, point: int = INGRESS, *, handle: int = 1, priority: int = 1) -> None:
    """Detach the program at this handle and priority; nothing there is no error."""
    ffi, lib, _ = _library()
    opts = ffi.new("struct tc_opts *")
    opts.sz, opts.handle, opts.priority = ffi.sizeof("struct tc_opts"), handle, priority
    code = lib.bpf_tc_detach(_hook(ifindex, point), opts)
    if code not in (0, -errno.ENOENT, -errno.EINVAL):
        _check(code, f"detach from interface {ifindex}")


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
    def row_size(self) -> int:
        """Bytes of one value as user space sees it."""
        if not self.per_cpu:
            return self.value_size
        return (self.value_size + 7) // 8 * 8 * possible_cpus()

    def get(self, key: bytes) -> bytes | None:
        ffi, lib, _ = _library()
        value = ffi.new("char[]", self.row_size)
        code = lib.bpf_map_lookup_elem(self.fd, ffi.from_buffer(key), value)
        if code == -errno.ENOENT:
            return None
        _check(code, f"look-up in map {self.name}")
        return bytes(ffi.buffer(value, self.row_size))

    def set(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        ffi, lib, _ = _library()
        if len(key) != self.key_size or len(value) != self.row_size:
            raise BpfError(f"map {self.name} wants {self.key_size} + {self.row_size} bytes", errno.EINVAL)
        code = lib.bpf_map_update_elem(self.fd, ffi.from_buffer(key), ffi.from_buffer(value), flags)
        _check(code, f"update of map {self.name}")

    def delete(self, key: bytes) -> bool:
        """True if the key was there."""
        ffi, lib, _ = _library()
        code = lib.bpf_map_delete_elem(self.fd, ffi.from_buffer(key))
        if code == -errno.ENOENT:
            return False
        _check(code, f"delete from map {self.name}")
        return True

    def batches(self, size: int = 16384) -> Iterator[tuple[bytes, bytes]]:
        """All entries of a hash map as (keys, values) in rows, `size` entries or fewer at a time."""
        ffi, lib, _ = _library()
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
                _check(code, f"batch look-up in map {self.name}")
            n = int(count[0])
            if n:
                yield (
                    bytes(ffi.buffer(keys, n * self.key_size)),
                    bytes(ffi.buffer(values, n * self.row_size)),
                )
            if code == -errno.ENOENT:
                return
            token_in, token_out = token_out, ffi.new("char[]", max(4, self.key_size))


def possible_cpus() -> int:
    return int(_library()[1].libbpf_num_possible_cpus())


def create_array(name: str, value_size: int, max_entries: int) -> Map:
    """A new BPF_MAP_TYPE_ARRAY, such as the inner map of a map of maps. Close it with `close_fd`."""
    ffi, lib, _ = _library()
    fd = _check(
        lib.bpf_map_create(2, name.encode()[:15], 4, value_size, max_entries, ffi.NULL), f"create map {name}"
    )
    return Map(name, fd, 4, value_size, max_entries)


def close_fd(fd: int) -> None:
    os.close(fd)


class Object:
    """A compiled BPF object. With `pin`, its maps live in that bpffs folder, and what is there is reused."""

    def __init__(
        self, path: Path, *, max_entries: dict[str, int] | None = None, pin: Path | None = None
    ) -> None:
        ffi, lib, _ = _library()
        _log.clear()
        if not path.exists():
            raise Unsupported(f"{path} is not built: run `make build`")
        self._pointer = lib.bpf_object__open_file(str(path).encode(), ffi.NULL)
        if self._pointer == ffi.NULL:
            raise BpfError(f"open {path}", ffi.errno)
        for name, entries in (max_entries or {}).items():
            _check(lib.bpf_map__set_max_entries(self._find_map(name), entries), f"size of map {name}")
        if pin is not None:
            for item in self._maps():
                target = str(pin / ffi.string(lib.bpf_map__name(item)).decode())
                _check(lib.bpf_map__set_pin_path(item, target.encode()), f"pin {target}")
        _check(lib.bpf_object__load(self._pointer), f"load {path.name}")

    def _maps(self) -> Iterator[Any]:
        ffi, lib, _ = _library()
        item = lib.bpf_object__next_map(self._pointer, ffi.NULL)
        while item != ffi.NULL:
            if not ffi.string(lib.bpf_map__name(item)).startswith(b"."):
                yield item
            item = lib.bpf_object__next_map(self._pointer, item)

    def _find_map(self, name: str) -> Any:
        ffi, lib, _ = _library()
        found = lib.bpf_object__find_map_by_name(self._pointer, name.encode())
        if found == ffi.NULL:
            raise BpfError(f"no map {name}", errno.ENOENT)
        return found

    def map(self, name: str, *, per_cpu: bool = False) -> Map:
        lib = _library()[1]
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
        ffi, lib, _ = _library()
        found = lib.bpf_object__find_program_by_name(self._pointer, name.encode())
        if found == ffi.NULL:
            raise BpfError(f"no program {name}", errno.ENOENT)
        return Program(name, int(lib.bpf_program__fd(found)))

    def close(self) -> None:
        """Close all descriptors; what is pinned or attached stays."""
        ffi, lib, _ = _library()
        if self._pointer != ffi.NULL:
            lib.bpf_object__close(self._pointer)
            self._pointer = ffi.NULL
