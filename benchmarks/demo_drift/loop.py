"""The phases of the demonstration. Each waits for what the shipped parts do, or raises `DidNotHappen` with the reason."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from benchmarks.demo_drift import bad
from benchmarks.demo_drift.fleet import BEGIN, Fleet
from benchmarks.demo_drift.script import Script
from benchmarks.demo_drift.timeline import DidNotHappen, Timeline
from benchmarks.demo_drift.traffic import Feed, Traffic
from fleetml.cli.monitor import verdict
from fleetml.pipeline import load
from fleetml.records import Run, runs
from fleetml.serving import audit, deployment, retrains, truth
from fleetml.serving.retrains import Limits
from fleetml.serving.rollout import confirm, progress
from fleetml.settings import Settings
from fleetml.stack import runs as airflow_runs
from fleetml.stack.state import read as stack_of

UNDONE = 0.3
"""Share of the added error that the new champion undoes at least; a search of a minute on a busy machine finds no more for sure."""
ROLLOUT = "rollout"  # who changes what is served, in the audit trail


@dataclass
class Loop:
    """A demonstration under way. `settings` are those of its running stack, `variables` those that its commands get."""

    script: Script
    settings: Settings
    variables: dict[str, str]
    line: Timeline
    fleet: Fleet
    traffic: Traffic = field(init=False)
    feed: Feed = field(init=False)

    def __post_init__(self) -> None:
        script, data = self.script, self.settings.home / "demo" / "metrics.parquet"
        address, context = self.settings.serving_address, int(script.training["context"])
        self.traffic = Traffic(address, self.fleet, BEGIN, context, script.stride, script.seconds)
        self.feed = Feed(self.traffic, self.fleet, data, self.variables, script.truth_seconds)

    def train(self) -> None:
        """Train and serve the first champion, as ``make run`` does; what is given holds for the retrains too."""
        self.feed.path.parent.mkdir(parents=True, exist_ok=True)
        self.fleet.write(self.feed.path, BEGIN)
        given = {**self.script.training, "rollout": "canary"}
        command = [
            sys.executable,
            "-m",
            "fleetml",
            "train",
            "--data",
            str(self.feed.path),
            "--target",
            self.script.target,
        ]
        command += [text for name, value in given.items() for text in ("-p", f"{name}={value}")]
        with self.line.phase("champion trained") as detail:
            log = self.settings.home / "demo" / "train.log"
            with log.open("w") as sink:
                status = subprocess.run(command, env=self.environment, stdout=sink, stderr=sink).returncode
            served = deployment.read(self.settings.serving_dir).get(self.script.target)
            if status or served is None:
                raise DidNotHappen(
                    f"the first champion must be served before the traffic begins, training failed; read {log}"
                )
            detail.append(f"version {served.version} serves")
        self._hold_schedule()

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}

    def calm(self) -> None:
        """Let traffic of a day come that nothing changed in: monitor is to find nothing."""
        self.traffic.start()
        self.feed.start()
        with self.line.phase("calm") as detail:
            self._pass_hours(self.script.look_hours)
            looked = self._look()
            if looked.event:
                raise DidNotHappen(f"monitor must find nothing before anything changed, it found {looked.told}")
            detail.append(looked.told)

    def change(self) -> datetime:
        """Put the change into the metrics, now; the clock of the timeline counts from here."""
        at = self.traffic.now
        self.fleet.change(at)
        self.line.zero = time.time()
        self.line.mark("shift injected", time.time(), f"from {at:%a %d %b %H:%M} of the fleet's time on")
        return at

    def noticed(self) -> str:
        """Look until monitor asks for a retrain; return the id of that."""
        began = time.time()
        self._pass_hours(self.script.look_hours)
        looked = self._look()
        while not looked.event:
            if time.time() - began > self.script.patience:
                raise DidNotHappen(f"monitor must notice the change, it finds {looked.told}")
            self.line.say(looked.told)
            looked = self._look()
        self.line.mark("drift noticed", began, looked.told, looked.at)
        return str(looked.event["evidence"]["retrain"])

    def retrained(self, key: str) -> Run:
        """Follow the run that the event starts, until its version is on its way; return the run."""
        began = self.line.of("drift noticed").at
        run = self._until(lambda: self._retrain(key), f"Airflow must start the retrain {key}, no run of it is known")
        told = run.read()
        self.line.mark("retrain started", began, f"run {told['dag_run_id']}", told["started"])
        began = told["started"]
        self._until(lambda: run.read()["state"] != "running", f"run {run.run_id} must end")
        made = run.latest()
        for step, name in (("gate", "challenger passed gate"), ("condition-1/register", "challenger registered")):
            attempt = made.get(step)
            if attempt is None or attempt.state != "succeeded":
                raise DidNotHappen(f"step {step} of {run.run_id} must succeed, it {self._why(run, step)}")
            figures = ", ".join(f"{name} {value}" for name, value in (attempt.figures or {}).items())
            self.line.mark(name, began, figures, attempt.finished)
            began = attempt.finished
        if run.read()["state"] != "succeeded":
            raise DidNotHappen(
                f"run {run.run_id} must succeed, it is {run.read()['state']}; fleetml status {run.run_id}"
            )
        return run

    def promoted(self, run: Run) -> str:
        """Follow the canary of the version that a run registered, until it is promoted; return the version."""
        version = str(run.latest()["condition-1/register"].outcome["parameters"]["version"])  # type: ignore[index]
        last = self._changes(version)
        if last["action"] != "promote":
            raise DidNotHappen(f"version {version} must be promoted, it was rolled back: {last['reason']}")
        found = confirm.wait(self.settings.serving_dir, self.script.target, version)
        if found.state != "serving":
            raise DidNotHappen(
                f"version {version} must serve once it is promoted, the server is {found.state}: {found.why}"
            )
        self.line.mark("new champion serves", _time(last), f"version {version}")
        return version

    def recovered(self, calm: datetime, version: str) -> None:
        """Wait until the forecasts of the new champion have their truth: is the error back down?"""
        began, since = time.time(), self.traffic.now
        self._pass_hours(self.script.look_hours)
        self._until(lambda: self.feed.told >= since + 20 * self.script.stride, "the truth must arrive")
        judged = self.errors()
        found = {
            "before": truth.wape(judged.filter(pl.col("origin") < calm)),
            "shifted": truth.wape(judged.filter(pl.col("origin") >= calm, pl.col("model_version") != version)),
            "after": truth.wape(judged.filter(pl.col("origin") >= since, pl.col("model_version") == version)),
        }
        told = ", ".join(f"{name} {value:.3f}" for name, value in found.items() if value is not None)
        if None in found.values() or _undone(**found) < UNDONE:  # type: ignore[arg-type]
            raise DidNotHappen(
                f"the new champion must undo {UNDONE:.0%} of the error that the change added, WAPE is {told}"
            )
        self.line.mark("error back down", began, f"WAPE {told}")

    def rolled_back(self, run: Run) -> None:
        """Push a bad version past the gate; the controller is to take it back."""
        with self.line.phase("bad version pushed") as detail:
            version = bad.push(self.settings, self.script.target, run)
            detail.append(f"version {version}, forecasts times {bad.FACTOR:g}")
        last = self._changes(version)
        if last["action"] != "rollback" or last["who"] != ROLLOUT:
            raise DidNotHappen(f"version {version} must be rolled back by the controller, the trail says {last}")
        time.sleep(2 + self.script.seconds)  # the prediction log is written once a second
        decided = datetime.fromisoformat(last["time"])
        log = truth.logged(self.settings.serving_dir, self.script.target, decided)
        late = log.filter(pl.col("model_version") == version, pl.col("role") == "challenger")
        seconds = (late["time"].max() - decided).total_seconds() if late.height else 0.0  # type: ignore[operator]
        self.line.mark(
            "bad version gone", decided.timestamp(), "its last answer to a caller", decided.timestamp() + seconds
        )

    def errors(self) -> pl.DataFrame:
        """Return what callers were answered, with its error where the truth is known."""
        root, target = self.settings.serving_dir, self.script.target
        began = datetime.fromtimestamp(self.line.marks[0].at, tz=BEGIN.tzinfo)
        log = truth.logged(root, target, began).filter(pl.col("role") != "shadow")
        return truth.errors(log, truth.read(root, target, BEGIN, self.feed.told))

    def end(self) -> None:
        """End the traffic. Raises DidNotHappen where a request was not answered."""
        self.traffic.over.set()
        self.traffic.join()
        self.feed.join()
        sent = f"{self.traffic.asked:,} requests, {len(self.traffic.failed)} failed, slowest {self.traffic.slowest * 1e3:.0f} ms"
        self.line.mark("traffic ended", time.time(), sent)
        if self.traffic.failed:
            raise DidNotHappen(f"no request may fail, {len(self.traffic.failed)} did: {self.traffic.failed[0][1]}")

    def _hold_schedule(self) -> None:
        """Have the hourly schedule's looks, which know nothing of the fast clock, held back by their cooldown; ours have none."""
        root, limits = self.settings.serving_dir, Limits(timedelta(0), timedelta(0), 1_000)
        key, _ = retrains.begin(root, self.script.target, {"reason": "demonstration"}, limits)
        retrains.end(root, self.script.target, key)

    def _look(self) -> "Looked":
        """Have monitor look in Airflow, as its schedule does hourly; return what it found."""
        since = max(self.traffic.span(self.script.look_hours), 1 / 3600)
        given = {"model_name": self.script.target, "since_hours": since, "cooldown_hours": 0.0, "accuracy_floor": 0.0}
        stack = stack_of(self.settings.home)
        if stack is None:
            raise DidNotHappen("the stack must stay up, it is gone")
        plan = load(self.settings.project / "dags" / "monitor" / "pipeline.yaml", self.settings.home / "ir", fold=True)
        going = airflow_runs.start(stack, self.settings, plan, given)
        for _ in going.follow():
            pass
        if going.state() != "succeeded":
            raise DidNotHappen(f"run {going.records.run_id} must succeed, it failed; see {going.link}")
        decided = going.records.latest()["condition-1/decide"]
        outcome = decided.outcome or {}
        told = "; ".join(line for line in verdict(going.records) if not line.startswith("report"))
        return Looked(outcome["parameters"]["event"], told, decided.finished)

    def _retrain(self, key: str) -> Run | None:
        for told in runs(self.settings.home):
            if (told.get("parameters") or {}).get("evidence", {}).get("retrain") == key:
                return Run(self.settings.home, told["run_id"])
        return None

    def _changes(self, version: str) -> dict[str, Any]:
        """Tell each step of a rollout as it happens; return the line of the trail that ends it."""
        known = 0
        began = self.line.marks[-1].at  # it may have begun before the run that began it was over
        while True:
            lines = [
                each for each in audit.read(self.settings.serving_dir, self.script.target) if _about(each, version)
            ]
            for each in lines[known:]:
                self.line.mark(f"{each['action']} {version}", began, f"{each['to']}: {each['reason']}", _time(each))
                began = _time(each)
            known = len(lines)
            if lines and lines[-1]["action"] in ("promote", "rollback"):
                return lines[-1]
            self._patient(began, f"the rollout of version {version} must go on, the last look found {self._found()}")
            time.sleep(0.5)

    def _found(self) -> str:
        state = progress.read(self.settings.serving_dir, self.script.target)
        return str(state.found.get("reason", "nothing")) if state else "nothing"

    def _why(self, run: Run, step: str) -> str:
        attempt = run.latest().get(step)
        if attempt is None:
            return f"was never begun; the run is {run.read()['state']}"
        return f"is {attempt.state}: {attempt.reason or (attempt.failure or {}).get('message', '')}"

    def _pass_hours(self, hours: float) -> None:
        """Wait until so many hours of the fleet's time have passed."""
        until = self.traffic.now + timedelta(hours=hours)
        self._until(lambda: self.traffic.now >= until, "the traffic must go on")

    def _until(self, condition: Callable[[], Any], due: str) -> Any:
        began = time.time()
        while not (found := condition()):
            self._patient(began, due)
            time.sleep(0.2)
        return found

    def _patient(self, began: float, due: str) -> None:
        """Raise DidNotHappen where it makes no sense to wait on."""
        if time.time() - began > self.script.patience:
            untold = f"; the truth is not told: {self.feed.error}" if self.feed.error else ""
            raise DidNotHappen(f"{due}: not after {self.script.patience:.0f} s{untold}")
        if not self.traffic.is_alive():
            raise DidNotHappen(
                f"{due}: the traffic ended before, at {self.traffic.now:%d %b %H:%M} of the fleet's time"
            )


@dataclass(frozen=True)
class Looked:
    """What a look of monitor found: the event, empty where no retrain is due, what it told, and when it had decided."""

    event: dict[str, Any]
    told: str
    at: float


def _undone(before: float, shifted: float, after: float) -> float:
    """Return the share of the error that the change added which is gone again."""
    return (shifted - after) / (shifted - before) if shifted > before else 0.0


def _time(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()


def _about(line: dict[str, Any], version: str) -> bool:
    """Say whether a line of the trail is about the rollout of a version."""
    return f" {version} (" in f"{line['from']} {line['to']}"
