"""``fleetml train``: bring the stack up, run a pipeline in its Airflow, watch it, say what came out.

``fleetml train JOB.yaml`` is a training job (`fleetml.workflow.job`): a run of the matching pipeline on this machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetml.errors import FleetMLError, InvalidParameter
from fleetml.settings import ABOUT, Settings, Subject

if TYPE_CHECKING:
    from fleetml.cli.terminal import Terminal
    from fleetml.pipeline import Plan
    from fleetml.stack.runs import AirflowRun
    from fleetml.stack.up import Up


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pipeline, and with what."""
    parser.add_argument(
        "pipeline",
        nargs="?",
        default="dags/train_forecaster",
        help="folder of a pipeline of this project, or a training job (YAML or JSON)",
    )
    parser.add_argument("--data", metavar="PATH", help="VM metrics: file, folder or URL; default: the synthetic fleet")
    parser.add_argument("--target", metavar="NAME", help="what is forecast: bandwidth, cpu, or any feature")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="repeat as needed")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Train; return 0 if every step succeeded, 1 if one failed. An interrupt stops what this command started."""
    from fleetml.cli import job
    from fleetml.cli.pipelines import pipeline_file
    from fleetml.cli.terminal import Terminal
    from fleetml.pipeline import load
    from fleetml.stack.interrupts import interruptible
    from fleetml.stack.up import up

    place = Path(args.pipeline) if Path(args.pipeline).exists() else settings.project / args.pipeline
    if found := job.read(place, settings):
        if args.data or args.target or args.parameter:
            raise InvalidParameter(
                f"a training job says everything itself, {place} does; write it there, without flags"
            )
        return job.run(found, place, settings)
    if not place.exists():
        raise InvalidParameter(
            f"train takes a training job (YAML or JSON) or the folder of a pipeline of this project, "
            f"{args.pipeline} is neither here nor in {settings.project}; correct the name"
        )
    terminal = Terminal()
    plan = load(pipeline_file(str(place)), settings.home / "ir", fold=True)  # as Airflow sees it
    given = {**_forgotten(plan, settings), **parameters(args, plan)}
    with interruptible():
        stack = up(settings, terminal.news)
        terminal.stack(stack.stack, fresh=stack.fresh)
        status = _train(terminal, stack, settings, plan, given)
    if status == 0:
        _remember(args, plan, given, settings)
    return status


def _train(terminal: Terminal, stack: Up, settings: Settings, plan: Plan, given: dict[str, Any]) -> int:
    from fleetml.report.live import Steps
    from fleetml.stack import runs

    going: AirflowRun | None = None
    labels = {name: step.label for name, step in plan.steps.items()}
    try:
        going = runs.start(stack.stack, settings, plan, given)
        terminal.say(f"run {going.records.run_id}: {going.link}")
        with Steps(labels, terminal.console) as tell:
            for step, state, attempt in going.follow():
                tell(step, state, attempt)
        return terminal.finished(going, stack.stack, labels)
    except KeyboardInterrupt:
        _break_off(terminal, stack, settings, going)
        return 130


def _remember(args: argparse.Namespace, plan: Plan, given: dict[str, Any], settings: Settings) -> None:
    """Scheduled runs and those that drift starts are about what was trained last by hand, with what was given then."""
    from fleetml.cli.pipelines import given as parsed

    if set(ABOUT) <= set(given):
        own = {name: value for name, value in parsed(args.parameter, None, plan).items() if name not in ABOUT}
        Subject(given["source"], given["mapping"], given["target"], plan.name, own).write(settings.home)


def _forgotten(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Return the pipeline's own defaults of what was given by hand the last time: not now."""
    known = settings.subject.given if settings.subject.pipeline == plan.name else {}
    return {name: plan.inputs[name].default for name in known if name in plan.inputs and not plan.inputs[name].required}


def _break_off(terminal: Terminal, stack: Up, settings: Settings, going: AirflowRun | None) -> None:
    """Stop the run, and the stack if this command started it; a second Ctrl-C does not leave half of it."""
    from fleetml.stack.interrupts import uninterrupted
    from fleetml.stack.up import down

    with uninterrupted():
        terminal.say("interrupted: stopping the run")
        try:
            if going:
                going.cancel()
        except FleetMLError as error:
            terminal.say(f"  {error}")
        if stack.fresh:
            down(settings, terminal.news)
            terminal.say("stopped the stack that this command started; no process is left")
        else:
            terminal.say("the stack was running before and stays up; `fleetml down` stops it")


def parameters(args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Return the run's parameters, checked against the plan before anything is started. Raises InvalidParameter."""
    from fleetml.cli.pipelines import given as parsed
    from fleetml.workflow import beforehand

    named = {"source": args.data, "target": args.target}
    texts = [*args.parameter, *(f"{name}={value}" for name, value in named.items() if value)]
    given = parsed(texts, None, plan)
    for name in ("source", "mapping"):
        if given.get(name):
            given[name] = existing(given[name])
    for name in ABOUT:  # not those of the run before
        if name in plan.inputs:
            given.setdefault(name, getattr(Subject(), name))
    if "target" in given:  # or it would be told after all that comes before `validate`
        from fleetml.data.schema import target_columns

        target_columns(given["target"])
    beforehand.check(plan, plan.bind(given))
    return given


def existing(place: str, name: str = "--data") -> str:
    """Return a path made absolute; a URL as it is. `name` is what the user gives it by. Raises InvalidParameter for a path that is not there."""
    if "://" in place:
        return place
    path = Path(place).expanduser().absolute()
    if not path.exists():
        raise InvalidParameter(f"data must be a file, a folder or a URL; {path} does not exist; give another {name}")
    return str(path)
