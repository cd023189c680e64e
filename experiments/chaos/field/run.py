"""One stage after the other: testbed, witness, traffic, changes, and the faults of the schedule."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from catenary.wire import TimeoutsModel
from experiments.chaos.field import measure, timeline
from experiments.chaos.field.chronicle import Chronicle
from experiments.chaos.field.churn import Churn
from experiments.chaos.field.faults import fault
from experiments.chaos.field.measure import DRAINS, Seen
from experiments.chaos.field.scene import Probes, Scene
from experiments.chaos.field.schedule import SERVICES, STAGES, Kind, Stage, Strike, rounds, schedule
from experiments.chaos.field.storm import BLUEPRINT
from experiments.chaos.field.timeline import Own, Row
from experiments.chaos.field.traffic import Traffic
from experiments.part import Part
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import FIG4, Testbed
from witness.checker import example, judge
from witness.places import places_of
from witness.recording import Recording
from witness.services import EPOCH
from witness.taps import Limits, Taps
from witness.watch import Watch

SHOWN = 5


def attacked(kinds: Sequence[Kind], each: int, seed: int, results: Path, console: Console) -> Part:
    """Run all stages that have faults of these kinds, `each` so often; needs `namespaces.isolate()` before.

    Writes `timeline.txt`, and each stage's recording and logs, into `results`.
    """
    results.mkdir(parents=True, exist_ok=True)
    (results / "timeline.txt").unlink(missing_ok=True)
    stages = []
    for stage in STAGES:
        for turn, many in enumerate(rounds(each)):
            strikes = schedule(stage, seed + turn, many, kinds)
            if strikes:
                name = f"{stage.name}-{turn + 1}" if turn else stage.name
                stages.append(_Run(stage, name, strikes, results, console).whole())
    console.print(f"written: {results}/timeline.txt", soft_wrap=True)
    claimed = measure.claims(kinds, each)
    found = [line for seen in stages for line in told(seen)]
    facts = {"timeouts_s": {stage.name: asdict(stage.timeouts) for stage in STAGES}, "each": each}
    return Part(measure.figures(stages), claimed, found, facts)


def told(seen: Seen) -> list[str]:
    """The first violation with all that lay around it, and of some others only what crossed."""
    if not seen.violations:
        return []
    first, *others = seen.violations
    return [*example(seen.recording, first).told(), *map(str, others[: SHOWN - 1])]


class _Run:
    """One round of one stage."""

    def __init__(
        self, stage: Stage, name: str, strikes: Sequence[Strike], results: Path, console: Console
    ) -> None:
        self._stage = stage
        self._name = name
        self._strikes = strikes
        self._results = results
        self._console = console
        self._chronicle: Chronicle | None = None

    def whole(self) -> Seen:
        stage = self._stage
        storms = any(strike.kind is Kind.STORM for strike in self._strikes)
        testbed = Testbed(
            blueprint=BLUEPRINT if storms else FIG4,
            nf_rate_mbit=None,
            timeouts=TimeoutsModel(**asdict(stage.timeouts)),
            sessions=stage.sessions,
        )
        rows: list[Row] = []
        with ExitStack() as undo:
            undo.callback(testbed.stop)
            undo.push(self._keep(testbed, rows))
            self._say(f"{self._name}: building the testbed, session tables of {stage.sessions}")
            testbed.start()
            taps = undo.enter_context(Taps(places_of(testbed.network), Limits.of(stage.timeouts)))
            probes = Probes(testbed)
            undo.callback(probes.close)
            watch = undo.enter_context(Watch(probes.management, "main"))
            chronicle = self._chronicle = Chronicle(taps)
            churn = Churn(probes, stage.timeouts.transit, chronicle)
            undo.callback(churn.stop)
            churn.start()
            traffic = undo.enter_context(Traffic(testbed))
            scene = Scene(testbed, probes, traffic, churn, chronicle, Own())
            for strike in self._strikes:
                rows.append(self._strike(strike, scene))
            if Kind.CALM in stage.kinds:
                self._watch_drains(churn)
            churn.stop()
            recording = taps.snapshot({nf: (nf,) for nf in testbed.blueprint.nfs})
            recording = watch.told(recording, kind=EPOCH)
        return self._judged(recording, rows, churn)

    def _judged(self, recording: Recording, rows: Sequence[Row], churn: Churn) -> Seen:
        recording.save(self._results / f"{self._name}.npz")
        seen = Seen(tuple(rows), tuple(churn.drains), judge(recording), recording, self._stage.timeouts)
        self._write(rows, seen.crossed())
        self._say(f"{self._name}: {seen.headline}")
        return seen

    def _strike(self, strike: Strike, scene: Scene) -> Row:
        """One fault from its begin until all is well again and every session has been asked."""
        scene.own = Own()
        crowd, made = f"crowd-{strike.number}", fault(strike, scene)
        before, failed = scene.traffic.open(crowd), scene.traffic.failures()
        epoch, chains = scene.testbed.balancers["l1"].health().epoch, scene.churn.chains()
        with self._console.status(f"{strike}: {made.what}"):
            begun = time.monotonic()
            with scene.churn.disturbed() if strike.kind in SERVICES else nullcontext():
                made.strike()
                wait_until(made.in_force, f"{strike} is not in force")
                struck = time.monotonic()
                if strike.kind is not Kind.CALM:
                    scene.chronicle.fault(f"{strike}: {made.what}")
                time.sleep(strike.hold_s)
                made.undo()
                undone = time.monotonic()
                wait_until(scene.probes.healthy, f"all is not well after {strike}", 2 * PATIENCE_S)
            well = time.monotonic()
            after = scene.traffic.prove(crowd)
            orphaned = self._orphaned(strike, scene)
            proved = time.monotonic()
            sent, lost = scene.traffic.close(crowd)
        row = Row(
            strike=strike,
            what=made.what,
            begun=begun,
            struck=struck,
            undone=undone,
            well=well,
            proved=proved,
            live=before.live,
            server_first=before.server_first,
            cut=(*after.cut, *scene.own.cut),
            sent=sent,
            lost=lost,
            failed=scene.traffic.failures() - failed,
            orphaned=orphaned,
            epoch=epoch,
            chains=chains,
            own=scene.own,
        )
        self._say(f"{strike.number:3} of {len(self._strikes)}  {row}")
        return row

    def _orphaned(self, strike: Strike, scene: Scene) -> int:
        """How many sessions the lost tables took along: counters begin anew with the maps."""
        if strike.kind is not Kind.LOSE_MASTER_MAPS:
            return 0
        return scene.testbed.balancers["l1"].stats().counters.get("orphaned", 0)

    def _watch_drains(self, churn: Churn) -> None:
        """Removals that nothing disturbs, if faults have let too few through."""
        with self._console.status("measuring how soon a drained chain is shown"):
            deadline = time.monotonic() + 2 * PATIENCE_S
            while len(churn.drains) < DRAINS and time.monotonic() < deadline:
                time.sleep(0.1)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _write(self, rows: Sequence[Row], crossed: Sequence[float]) -> None:
        notes = self._chronicle.notes if self._chronicle else ()
        with (self._results / "timeline.txt").open("a") as file:
            file.write(timeline.text(f"stage {self._name}", rows, notes, crossed))

    def _keep(self, testbed: Testbed, rows: Sequence[Row]) -> Callable[..., None]:
        """Keep the services' logs, for whoever wants to know more; and what was seen, if the run breaks."""

        def leave(kind: type[BaseException] | None, *_: object) -> None:
            target = self._results / "logs" / self._name
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            for log in testbed.run_dir.glob("*.log"):
                shutil.copy(log, target)
            if kind is not None:
                self._write(rows, ())

        return leave
