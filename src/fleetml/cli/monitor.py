"""``fleetml monitor MODEL``: look for drift and bad forecasts now; what is due is started as its triggers.yaml says.

In the stack's Airflow where it runs (there the event of the monitor's run starts the retrain), else on this machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.records import Run
    from fleetml.stack.state import Stack

PIPELINE = "monitor"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, and with what."""
    parser.add_argument("model", help="name of a served model")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="of dags/monitor")
    parser.add_argument("--no-retrain", action="store_true", help="on this machine: do not start what is due")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the pipeline, print the verdict, start what is due; return 0 if every run succeeded.

    Raises InvalidParameter for a model that is not served.
    """
    from fleetml.cli.output import say
    from fleetml.cli.run import execute
    from fleetml.cli.watch import job
    from fleetml.records import Run
    from fleetml.stack import state

    _require_served(args, settings)
    texts = [f"model_name={args.model}", *args.parameter]
    stack = state.read(settings.home)
    if stack and "airflow" in stack.services and "airflow" not in stack.dead:
        return _in_airflow(stack, settings, texts)
    if args.no_retrain:
        texts.append("retrains_per_day=0")
    looked = job(settings, PIPELINE, texts)
    status = execute(looked, settings)
    records = Run(settings.home, looked.run_id)
    for line in verdict(records):
        say(line)
    for pipeline, parameters in due(settings, records):
        say(f"starting {pipeline}")
        status = execute(job(settings, pipeline, (), parameters), settings) or status
    return status


def _require_served(args: argparse.Namespace, settings: Settings) -> None:
    """Of the serving folder that the run is given, if it is given another than the installation's."""
    from fleetml.serving.rollout import actions

    given = [text.removeprefix("serving_dir=") for text in args.parameter if text.startswith("serving_dir=")]
    actions.served(Path(given[0]) if given else settings.serving_dir, args.model)


def _in_airflow(stack: Stack, settings: Settings, texts: list[str]) -> int:
    from fleetml.cli.output import progress, say
    from fleetml.cli.pipelines import given, pipeline_file
    from fleetml.pipeline import load
    from fleetml.stack import runs

    plan = load(pipeline_file(str(settings.project / "dags" / PIPELINE)), settings.home / "ir", fold=True)
    going = runs.start(stack, settings, plan, given(texts, None, plan))
    say(f"run {going.records.run_id}: {going.link}")
    with progress({name: step.label for name, step in plan.steps.items()}) as show:
        for step, state, attempt in going.follow():
            show(step, state, attempt)
    for line in verdict(going.records):
        say(line)
    return 0 if going.state() == "succeeded" else 1


def verdict(records: Run) -> Iterator[str]:
    """Yield what a run of monitor found, as far as it came."""
    steps = records.latest()
    outcomes = {name.rpartition("/")[2]: attempt.outcome for name, attempt in steps.items() if attempt.outcome}
    if "quality" in outcomes:
        accuracy = outcomes["quality"]["parameters"]["accuracy"]
        yield f"accuracy: {accuracy:.3f}" if accuracy >= 0 else "accuracy: unknown, too few forecasts have their truth"
    if "drift" in outcomes:
        yield f"drift: {_drift(outcomes)}"
        yield f"report: {outcomes['drift']['artifacts']['report'][0]['uri']}"
    if "decide" in outcomes:
        yield f"verdict: {_noted(outcomes, 'decide')['verdict']}"


def _drift(outcomes: Mapping[str, Any]) -> str:
    """Say how far the traffic is from that of training, or why that is unknown."""
    if note := (_noted(outcomes, "collect").get("note") or _noted(outcomes, "drift").get("note")):
        return f"unknown, {note}"
    found = outcomes["drift"]["parameters"]
    told = [f"{name} {value:.2f}" for name, value in found["features"].items()]
    told += [f"{name} missing" for name in found["missing"]]
    return ", ".join([f"{found['score']:.2f}", *told])


def _noted(outcomes: Mapping[str, Any], step: str) -> Mapping[str, Any]:
    """Return what a step that succeeded logged to its metrics; {} of another."""
    return outcomes[step]["artifacts"]["metrics"][0]["metadata"] if step in outcomes else {}


def due(settings: Settings, records: Run) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the pipelines, and their parameters, that the events of a run on this machine start by their triggers.yaml."""
    from fleetml.triggers import FILE, load

    steps = records.latest()
    for emit in load(settings.project / "dags" / PIPELINE / FILE, settings).emits:
        outcome = steps[emit.step].outcome if emit.step in steps else None
        if outcome is None or steps[emit.step].state != "succeeded":
            continue
        payload = outcome["parameters"][emit.output]
        for path in sorted((settings.project / "dags").glob(f"*/{FILE}")):
            for asset in load(path, settings).assets:
                if asset.uri == emit.asset:
                    yield path.parent.name, {name: payload[key] for name, key in asset.parameters.items()}
