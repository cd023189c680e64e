"""The C parser and the decisions behind it under libFuzzer, from a corpus of the golden vectors.

CATENARY_FUZZ_SECONDS sets for how long (60 by default), CATENARY_FUZZ_RUNS how often instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from lb_adapter.core.check import CORE
from tests.vectors.reading import read_all

SOURCE = Path(__file__).parent / "parse_fuzz.c"
SANITIZERS = "-fsanitize=fuzzer,address,undefined"
# Functions stay functions: all in one, with every check of the sanitizers, they take the compiler minutes.
WHOLE = "-DINLINE=static __attribute__((unused))"
FLAGS = ("-g", "-O1", "-Wall", "-Wno-unused-function", WHOLE, SANITIZERS, "-fno-sanitize-recover=all")
_AFFINITIES = ("session", "addresses", "client")


def compile_fuzzer(folder: Path) -> Path:
    clang = shutil.which("clang-14") or shutil.which("clang")
    assert clang, "no clang here: apt install clang libclang-rt-14-dev"
    program = folder / "parse_fuzz"
    command = [clang, *FLAGS, "-I", str(CORE), str(SOURCE), "-o", str(program)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, f"{made.stderr}\n(is libclang-rt-14-dev installed?)"
    return program


def write_corpus(folder: Path) -> Path:
    """Each vector as the fuzzer's input: both roles, both ports."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, vector in enumerate(read_all()):
        choice = _AFFINITIES.index(vector.affinity) | vector.forward << 2
        beside = b""
        if vector.beside is not None:
            choice, beside = choice | 8, vector.beside.to_bytes(2, "big")
        for where in (0x00, 0x10, 0x20, 0x30):
            (corpus / f"{number}-{where:02x}").write_bytes(bytes([choice | where]) + beside + vector.frame)
    return corpus


def test_parser_has_no_findings(tmp_path: Path) -> None:
    program, corpus = compile_fuzzer(tmp_path), write_corpus(tmp_path)
    runs = os.environ.get("CATENARY_FUZZ_RUNS")
    seconds = os.environ.get("CATENARY_FUZZ_SECONDS", "60")
    bound = f"-runs={runs}" if runs else f"-max_total_time={seconds}"
    command = ["nice", "-n", "10", str(program), bound, "-max_len=700", "-len_control=0", str(corpus)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    done = re.search(r"Done (\d+) runs", run.stderr)
    assert done, run.stderr[-500:]
    print(f"{done[1]} executions, no findings")
    assert int(done[1]) > 10_000
