"""``fleetml submit PIPELINE --engine kfp``: upload a pipeline to a Kubeflow Pipelines cluster and run it there."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from fleetml.errors import ConfigurationError, InvalidParameter
from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pipeline, where to. The token of the cluster comes from KF_PIPELINES_TOKEN, never from the command line."""
    parser.add_argument("pipeline", help="an IR file, a workflow (YAML or JSON), or a folder with a pipeline.yaml")
    parser.add_argument("--engine", choices=["kfp"], default="kfp")
    parser.add_argument("--host", help="address of the KFP API (default: $KF_PIPELINES_ENDPOINT)")
    parser.add_argument("--namespace", default="", help="of a multi-user cluster")
    parser.add_argument("--experiment", default="fleetml")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="repeat as needed")
    parser.add_argument("--params", metavar="FILE", help="parameters as YAML or JSON")
    parser.add_argument(
        "--image", action="append", default=[], metavar="NAME=REFERENCE@DIGEST", help="instead of images.toml's digest"
    )
    parser.add_argument(
        "--schedule", action="store_true", help="create the recurring run of triggers.yaml, run nothing now"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Submit and print where to look. Defaults of triggers.yaml are this machine's and stay here."""
    from fleetml.cli.output import say
    from fleetml.cli.pipelines import given, pipeline_file, triggers_of
    from fleetml.engines import kfp
    from fleetml.pipeline import load
    from fleetml.workflow.source import ir_file

    path = pipeline_file(args.pipeline)
    ir = ir_file(path, settings.home)
    plan = load(ir)
    triggers = triggers_of(path, plan, settings)
    host = args.host or os.environ.get("KF_PIPELINES_ENDPOINT", "")
    if not host:
        raise ConfigurationError("a cluster is needed to submit to: give --host or set KF_PIPELINES_ENDPOINT")
    if args.schedule and not triggers.schedule:
        raise ConfigurationError(f"--schedule needs a schedule in the triggers.yaml beside {path}; write one")
    schedule = kfp.Schedule(str(triggers.schedule), triggers.data_interval_end) if args.schedule else None
    done = kfp.submit(
        ir,
        given(args.parameter, args.params, plan),
        host,
        project=settings.project,
        image_overrides=_overrides(args.image),
        token=os.environ.get("KF_PIPELINES_TOKEN", ""),
        namespace=args.namespace,
        experiment=args.experiment,
        schedule=schedule,
        run=not args.schedule,
    )
    say(f"pipeline {done.pipeline_id}, version {done.version_id}")
    say(f"run {done.run_id}: {done.url}" if done.run_id else f"recurring run {done.recurring_run_id}: {done.url}")
    return 0


def _overrides(texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, reference = text.partition("=")
        if not (name and equals and reference):
            raise InvalidParameter(
                f"an image is NAME=REGISTRY@sha256:…, got {text!r}; write --image NAME=REGISTRY@sha256:…"
            )
        if name in found:
            raise InvalidParameter(
                f"an image is given once, '{name}' is given as {found[name]} and as {reference}; leave one of them out"
            )
        found[name] = reference
    return found
