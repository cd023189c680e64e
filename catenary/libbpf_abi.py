"""libbpf as cffi sees it: declarations, the loaded library, and its errors. The API is `catenary.libbpf`."""

from __future__ import annotations

import errno
import gzip
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cffi import FFI

from catenary.errors import CatenaryError, Unsupported

_CDEF = """
typedef struct bpf_object bpf_object; typedef struct bpf_program bpf_program; typedef struct bpf_map bpf_map;
struct open_opts { size_t sz; const char *name; uint64_t relaxed; const char *pin_root; uint64_t stub;
  const char *kconfig; };
bpf_object *bpf_object__open_file(const char *path, const struct open_opts *);
int bpf_object__load(bpf_object *); void bpf_object__close(bpf_object *);
bpf_program *bpf_object__find_program_by_name(const bpf_object *, const char *);
bpf_map *bpf_object__find_map_by_name(const bpf_object *, const char *);
bpf_map *bpf_object__next_map(const bpf_object *, const bpf_map *);
const char *bpf_map__name(const bpf_map *);
int bpf_program__fd(const bpf_program *); int bpf_map__fd(const bpf_map *);
int bpf_map__set_max_entries(bpf_map *, uint32_t); int bpf_map__set_pin_path(bpf_map *, const char *);
uint32_t bpf_map__key_size(const bpf_map *); uint32_t bpf_map__value_size(const bpf_map *);
uint32_t bpf_map__max_entries(const bpf_map *);
int bpf_map__type(const bpf_map *); uint32_t bpf_map__map_flags(const bpf_map *);
int bpf_map_create(int type, const char *name, uint32_t key, uint32_t value, uint32_t max, const void *opts);
int bpf_map_lookup_elem(int fd, const void *key, void *value);
int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags);
int bpf_map_delete_elem(int fd, const void *key);
struct batch_opts { size_t sz; uint64_t elem_flags; uint64_t flags; };
int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, uint32_t *count, void *opts);
int bpf_map_update_batch(int fd, const void *keys, const void *values, uint32_t *count, const void *opts);
struct tc_hook { size_t sz; int ifindex; int attach_point; uint32_t parent; };
struct tc_opts { size_t sz; int prog_fd; uint32_t flags, prog_id, handle, priority; };
int bpf_tc_hook_create(struct tc_hook *); int bpf_tc_hook_destroy(struct tc_hook *);
int bpf_tc_attach(const struct tc_hook *, struct tc_opts *);
int bpf_tc_detach(const struct tc_hook *, const struct tc_opts *);
int bpf_tc_query(const struct tc_hook *, struct tc_opts *);
int bpf_prog_get_fd_by_id(uint32_t); int bpf_map_get_fd_by_id(uint32_t); int bpf_obj_get(const char *path);
int bpf_obj_get_info_by_fd(int fd, void *info, uint32_t *size);
int bpf_prog_bind_map(int prog, int map, const void *opts);
struct prog_info { uint32_t type, id; uint8_t tag[8]; uint32_t jited_size, xlated_size;
  uint64_t jited, xlated, load_time; uint32_t uid, maps; uint64_t map_ids; char name[16]; };
struct map_info { uint32_t type, id, key_size, value_size, max_entries, flags; char name[16]; };
struct run_opts { size_t sz; const void *data_in; void *data_out; uint32_t data_size_in, data_size_out;
  const void *ctx_in; void *ctx_out; uint32_t ctx_size_in, ctx_size_out, retval; int repeat;
  uint32_t duration, flags, cpu, batch_size; };
int bpf_prog_test_run_opts(int fd, struct run_opts *);
int libbpf_num_possible_cpus(void);
typedef int (*print_fn)(int level, const char *format, void *args); print_fn libbpf_set_print(print_fn);
int vsnprintf(char *, size_t, const char *, void *);
int close(int);
"""
log: list[str] = []


class BpfError(CatenaryError):
    """A call to libbpf or the kernel failed; `errno` says how."""

    def __init__(self, what: str, code: int) -> None:
        self.errno = abs(code)
        words = " ".join("".join(log[-6:]).split())[-400:]
        super().__init__(f"{what}: {os.strerror(self.errno)}" + (f" ({words})" if words else ""))


@dataclass(frozen=True)
class Layout:
    """What a program and a map must agree on; sizes in bytes, type and flags by the kernel's numbers."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int

    def against(self, there: Layout) -> str:
        """In words, how what is there differs from this; empty if it does not."""
        pairs = ((name, getattr(there, name), value) for name, value in asdict(self).items())
        return ", ".join(f"has {name} {got}, not {wanted}" for name, got, wanted in pairs if got != wanted)


@cache
def library() -> tuple[FFI, Any, Any]:
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
            log.append(ffi.string(buffer).decode(errors="replace"))
            del log[:-20]
        return 0

    lib.libbpf_set_print(_keep)
    return ffi, lib, _keep


def check(code: int, what: str) -> int:
    if code < 0:
        raise BpfError(what, code if code != -1 else library()[0].errno or errno.EIO)
    return code


@cache
def tick_rate() -> int:
    """CONFIG_HZ of this kernel; 0 if it is not told here, as in a container without /boot.

    BPF programs read it as an `extern __kconfig`. libbpf would look it up by itself, and refuse to load
    anything where there is nothing to be read.
    """
    for path in (Path(f"/boot/config-{os.uname().release}"), Path("/proc/config.gz")):
        with suppress(OSError):
            raw = path.read_bytes()
            text = gzip.decompress(raw) if path.suffix == ".gz" else raw
            found = re.search(rb"^CONFIG_HZ=(\d+)$", text, re.MULTILINE)
            if found is not None:
                return int(found[1])
    return 0
