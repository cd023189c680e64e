"""The demo: build the testbed, tell the story under real traffic, judge it, write results/demo (README.md).

python -m experiments.demo.run [--paper | --brief] [--phase S] [--adds N] [--results DIR]
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

from catenary.wire import TimeoutsModel
from experiments import summary
from experiments.demo import figures, plot
from experiments.demo.adds import measure_adds
from experiments.demo.figures import Observations
from experiments.demo.judging import judgement, share_bins
from experiments.demo.screen import Screen
from experiments.demo.story import BRIEF, FULL, NF_OF, NF_RATE_MBIT, PAPER, STORY, TIMEOUTS, Plan
from experiments.demo.telling import Told, tell
from experiments.outcome import conclude, execute
from topologies import dashboard
from topologies.namespaces import isolate
from topologies.testbed import Testbed
from witness.checker import judge
from witness.events import CHANGE
from witness.places import places_of
from witness.recording import Recording
from witness.taps import Limits, Taps

RESULTS = Path("results/demo")
_EXAMPLES = """\
examples:
  python -m experiments.demo.run                               about three minutes
  python -m experiments.demo.run --paper                       as long as the paper's
  python -m experiments.demo.run --brief --results /tmp/demo   the shortest
"""


def main() -> None:
    arguments = _arguments()
    screen = Screen()

    def work() -> bool:
        plan = _plan(arguments)
        listening = dashboard.listen()
        isolate()
        return _demo(plan, arguments.results.resolve(), screen, listening)

    execute("demo", screen.console, work)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="experiments.demo.run",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--paper", action="store_true", help="the paper's 35 s phases")
    length.add_argument("--brief", action="store_true", help=f"{BRIEF.phase_s:g} s phases, {BRIEF.adds} adds")
    parser.add_argument("--phase", type=float, metavar="S", help="seconds of each phase")
    parser.add_argument("--adds", type=int, metavar="N", help="chains added to measure the latency")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> Plan:
    plan = PAPER if arguments.paper else BRIEF if arguments.brief else FULL
    if arguments.phase is not None:
        plan = replace(plan, phase_s=arguments.phase)
    if arguments.adds is not None:
        plan = replace(plan, adds=arguments.adds)
    return plan


def _demo(plan: Plan, results: Path, screen: Screen, listening: dashboard.Listening) -> bool:
    """Run it all; True when every claim holds."""
    timeouts = TimeoutsModel(**asdict(TIMEOUTS))
    screen.say(f"timeouts of the segment, s: {', '.join(f'{k} {v:g}' for k, v in asdict(TIMEOUTS).items())}")
    screen.say(f"{plan.phase_s:g} s a phase; each NF is a firewall that carries {NF_RATE_MBIT:g} Mbit/s")
    results.mkdir(parents=True, exist_ok=True)
    testbed = Testbed(timeouts=timeouts, nf_rate_mbit=NF_RATE_MBIT)
    try:
        with screen.doing("building the testbed: switches, hosts, firewalls, load balancers, services"):
            testbed.start()
        url = dashboard.start(testbed.services, testbed.hosts["root"], listening)
        screen.say(f"dashboard: {url} (in a browser on this host, while this runs)")
        with screen.doing("attaching the witness to every NF port and to both load balancers"):
            taps = Taps(places_of(testbed.network), Limits.of(TIMEOUTS))
            testbed.services.wait_ready(["dashboard"])
        with taps:
            told = tell(testbed, taps, plan, screen)
            latencies = measure_adds(testbed, taps, plan.adds, screen)
            taps.note(CHANGE, "remove the last chain")
            left = _clear(testbed, screen)
            recording = taps.snapshot({chain: (nf,) for chain, nf in NF_OF.items()})
            recording.save(results / "recording.npz")
    except BaseException:
        _keep_logs(testbed.run_dir, results)
        raise
    finally:
        testbed.stop()
    left += testbed.lasting_leftovers()
    for line in left:
        screen.say(f"[red]left over:[/] {line}")
    return _report(plan, results, screen, told, latencies, len(left), recording)


def _clear(testbed: Testbed, screen: Screen) -> list[str]:
    """Remove the last chain too, which needs force, and say what is left of any chain."""
    with screen.doing("removing the last chain"):
        for chain in testbed.management.chains():
            testbed.remove_chain(chain.name, force=True)
        return testbed.lasting_leftovers()


def _keep_logs(run_dir: Path, results: Path) -> None:
    """A run that broke leaves its services' logs for the user."""
    target = results / "logs"
    target.mkdir(parents=True, exist_ok=True)
    for log in run_dir.glob("*.log"):
        shutil.copy(log, target)


def _report(
    plan: Plan,
    results: Path,
    screen: Screen,
    told: Told,
    latencies: tuple[float, ...],
    leftovers: int,
    recording: Recording,
) -> bool:
    """Judge, draw, write, print."""
    with screen.doing("judging what the witness saw"):
        verdict = judge(recording)
    marks = plot.Marks(STORY, told.requests, told.end)
    seen = Observations(
        series=told.series,
        requests=told.requests,
        end=told.end,
        drained_s=told.drained_s,
        latencies_s=latencies,
        failed_requests=told.load.failed,
        sessions_cut=told.sessions_cut,
        leftovers=leftovers,
        judgement=judgement(verdict, told.requests, told.end),
    )
    found, claims = figures.figures(seen, plan), figures.claims(plan)
    with screen.doing(f"drawing {results}/throughput.png and share.png"):
        plot.throughput(results / "throughput.png", told.series, marks)
        plot.share(
            results / "share.png", verdict.chains, *share_bins(verdict, told.requests[0], told.end), marks
        )
    facts = summary.environment(
        phase_s=plan.phase_s,
        nf_rate_mbit=NF_RATE_MBIT,
        timeouts_s=asdict(TIMEOUTS),
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    details = (*map(str, verdict.violations[:5]), *map(str, verdict.bypassed[:5]), *told.load.reasons)
    ok = conclude("demo", results, screen.console, found, claims, facts, details)
    screen.say(f"written: {results}/summary.json, throughput.png, share.png")
    return ok


if __name__ == "__main__":
    main()
