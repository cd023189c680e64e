"""Programs with a mistake put into them, compiled as the Makefile compiles the real ones."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import lb_adapter
from tests.vectors.mutants import MUTANTS, Mutant, seed

SOURCES = Path(lb_adapter.__file__).parent


WRONG_VERDICT = next(mutant for mutant in MUTANTS if mutant.name == "an answer overwrites a lease")
WRONG_LAYOUT = Mutant("a field more", "abi.h", "__u32 take_over;", "__u32 take_over; __u32 more;")


def plant(mistake: Mutant, folder: Path) -> Path:
    """A copy of the sources with the mistake in it; its folder."""
    for part in ("core", "bpf", "native"):
        shutil.copytree(
            SOURCES / part, folder / part, ignore=shutil.ignore_patterns("*.o", "*.py", "__pycache__")
        )
    seed(mistake, folder / "core")
    return folder


def bpf_object(sources: Path) -> Path:
    """The BPF programs of `sources`."""
    target = sources / "splice.bpf.o"
    include = f"-I/usr/include/{platform.machine()}-linux-gnu"
    flags = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", include, "-I", str(sources / "core")]
    _run("clang", *flags, "-c", str(sources / "bpf" / "splice.bpf.c"), "-o", str(target))
    return target


def worker(sources: Path) -> Path:
    """The worker of `sources`, compiled in haste."""
    target = sources / "planted-worker"
    files = [str(sources / "native" / name) for name in ("worker.c", "af_packet.c", "pf_ring.c")]
    flags = ["-O0", "-std=gnu11", "-fno-strict-aliasing", "-I", str(sources / "core")]
    _run("cc", *flags, *files, "-o", str(target), "-pthread", "-ldl")
    return target


_ONE_THREAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *argument)
{
	static int made;
	int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
		dlsym(RTLD_NEXT, "pthread_create");

	return made++ ? EAGAIN : next(thread, how, run, argument);
}
"""


def threadless(folder: Path) -> Path:
    """The real worker, on a host that gives it one thread and no more."""
    folder.mkdir(parents=True, exist_ok=True)
    library, program = folder / "one-thread.so", folder / "threadless-worker"
    source = library.with_suffix(".c")
    source.write_text(_ONE_THREAD)
    _run("cc", "-shared", "-fPIC", str(source), "-o", str(library), "-ldl")
    program.write_text(f'#!/bin/sh\nLD_PRELOAD={library} exec {SOURCES}/native/worker "$@"\n')
    program.chmod(0o755)
    return program


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
