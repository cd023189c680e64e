"""Replay a capture through the chains, and say what another number of them, or another data plane, changes.

python -m experiments.replay.run --pcap FILE [--chains N] [--against CONFIG] [--dataplane PLANE ...] [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from catenary import program
from catenary.errors import InvalidValue, Unsupported
from experiments import summary
from experiments.evaluation.repeat import Status
from experiments.outcome import conclude, execute
from experiments.replay import telling
from experiments.replay.capture import read
from experiments.replay.comparing import Outcome
from experiments.replay.scene import Pace, played
from experiments.replay.sessions import Split, split
from experiments.replay.setting import DATA_PLANES, POLICIES, Setting
from topologies.namespaces import isolate
from topologies.nfs import catalog

RESULTS = Path("results/replay")
_EXAMPLES = """\
examples:
  python -m experiments.replay.run --pcap traffic.pcap
        through one chain, then through three: the same alerts?
  python -m experiments.replay.run --pcap traffic.pcapng --chains 5 --speed max
        five of them, as fast as packets arrive
  python -m experiments.replay.run --pcap traffic.pcap --dataplane ebpf af_packet
        do both data planes put each session on the same chain?
  python -m experiments.replay.run --pcap traffic.pcap --against chains=4,policy=p2c --json
        two configurations; the result on standard output
"""


def main() -> None:
    arguments = _arguments()
    # Standard output is for the result alone when programs read it.
    console = Console(highlight=False, stderr=arguments.json)

    def work() -> bool:
        settings = _settings(arguments)
        found = _capture(arguments.pcap, correct=not arguments.keep_checksums)
        for nf in {setting.nf for setting in settings}:
            _check_nf(nf)
        for plane in sorted({setting.dataplane for setting in settings} - {Setting().dataplane}):
            _check_plane(plane)
        results: Path = arguments.results.resolve()
        pace = Pace(arguments.speed, arguments.wait)
        isolate()
        return replayed(found, settings, pace, results, console, as_json=arguments.json)

    execute("replay", console, work)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="experiments.replay.run",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    default = Setting()
    add("--pcap", type=Path, required=True, metavar="FILE", help="a capture: pcap or pcapng, gzipped or not")
    add("--chains", type=int, default=default.chains, metavar="N", help=f"default {default.chains}")
    planes = ", ".join(DATA_PLANES)
    add(
        "--dataplane",
        nargs="+",
        default=[default.dataplane],
        metavar="PLANE",
        help=f"of {planes}: a run each",
    )
    add("--policy", default=default.policy, help=f"of {', '.join(POLICIES)}; default {default.policy}")
    add("--nf", default=default.nf, help=f"of each chain, of {', '.join(catalog.NFS)}; default {default.nf}")
    add(
        "--against",
        metavar="CONFIG",
        help="a further run, with changes to the first: such as chains=4,policy=p2c,affinity=client",
    )
    add("--speed", type=_speed, default=1.0, metavar="X", help="times the capture's pace, or max; default 1")
    add("--wait", type=_seconds, default=2.0, metavar="S", help="until a packet counts as lost; default 2")
    add("--keep-checksums", action="store_true", help="send wrong checksums as they were captured")
    add("--json", action="store_true", help="print the result as JSON")
    add("--results", type=Path, default=RESULTS, metavar="DIR", help=f"default {RESULTS}")
    return parser.parse_args()


def _speed(text: str) -> float | None:
    return None if text == "max" else _positive(text, 1e6, "a number above 0, such as 0.5 or 10, or max")


def _seconds(text: str) -> float:
    return _positive(text, 3600.0, "seconds above 0, such as 0.5")


def _positive(text: str, most: float, wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= most:
        raise argparse.ArgumentTypeError(f"{text!r}: use {wanted}")
    return value


def _settings(arguments: argparse.Namespace) -> list[Setting]:
    """A single instance, what was asked for on each data plane, and what that is held against."""
    planes = list(dict.fromkeys(arguments.dataplane))
    given = {"chains": arguments.chains, "policy": arguments.policy, "nf": arguments.nf}
    asked = [Setting(**given, dataplane=plane) for plane in planes]
    against = [asked[0].with_changes(arguments.against)] if arguments.against is not None else []
    return list(dict.fromkeys([replace(asked[0], chains=1), *asked, *against]))


def _capture(path: Path, *, correct: bool) -> Split:
    frames = read(path)
    try:
        return split(frames, correct=correct)
    except InvalidValue as error:
        raise InvalidValue(f"--pcap {path}: {error}") from None


def _check_nf(name: str) -> None:
    """Raise `InvalidValue` for an NF that this host can't have."""
    try:
        catalog.named(name)
    except Unsupported as error:
        raise InvalidValue(f"--nf {name}: {error.detail}") from None


def _check_plane(name: str) -> None:
    """Raise `InvalidValue` for a data plane that this host can't have, by what the doctor says."""
    argv = program.argv("lb_adapter", ["doctor", "--data-plane", name, "--json"])
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    for check in json.loads(said)["checks"]:
        if check["check"] == name and check["level"] == "fault":
            raise InvalidValue(f"--dataplane {name}: {check['found']}: {check['fix']}")


def replayed(
    found: Split, settings: Sequence[Setting], pace: Pace, results: Path, console: Console, *, as_json: bool
) -> bool:
    """Run all settings, the single instance first, and write what came of them; True if nothing is wrong.

    Interrupted, it writes what the runs that ended have shown, and raises `KeyboardInterrupt` that says so.
    """
    begun = time.monotonic()
    for line in telling.about(found):
        console.print(line, markup=False, soft_wrap=True)
    outcomes = list[Outcome]()
    ended = dict[str, Any]()
    try:
        for setting in settings:
            console.print(f"replaying: {setting.name}", markup=False)
            outcomes.append(played(found.sessions, setting, pace))
    except KeyboardInterrupt:
        if not outcomes:
            raise
        ended = {"ok": False, "status": Status.INTERRUPTED}
    finished = settings[: len(outcomes)]
    comparisons = telling.compared(outcomes)
    everything = telling.plain(found, outcomes, comparisons)
    results.mkdir(parents=True, exist_ok=True)
    (results / "replay.json").write_text(json.dumps(everything, indent=2) + "\n")
    console.print(telling.table(outcomes))
    ok = conclude(
        "replay",
        results,
        console,
        telling.figures(found, outcomes, comparisons),
        telling.claims(found, finished),
        summary.environment(
            settings=[asdict(setting) for setting in finished],
            pace=asdict(pace),
            seconds=round(time.monotonic() - begun),
            time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        ),
        telling.details(outcomes, comparisons),
        **ended,
    )
    console.print(f"written: {results}/summary.json, replay.json", soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps({"ok": ok, **ended, **everything}, indent=2) + "\n")
    if ended:
        raise KeyboardInterrupt(f"{len(outcomes)} of {len(settings)} runs are in {results}")
    return ok


if __name__ == "__main__":
    main()
