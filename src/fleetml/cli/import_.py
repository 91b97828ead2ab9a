"""``fleetml import FILE --name MODEL``: a model from elsewhere, as one graph, proven equal and registered."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fleetml.cli import serving
from fleetml.errors import InvalidParameter
from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.imports.register import Imported
    from fleetml.serving.backends import Tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which file, under which name."""
    parser.add_argument(
        "file",
        type=Path,
        help="ONNX, scikit-learn (skops), XGBoost (JSON, UBJ), LightGBM (text), torch.export (.pt2) or Keras (.keras); "
        "told by content; pickles are refused",
    )
    parser.add_argument("--name", required=True, metavar="MODEL", help="its name in the registry and on the server")
    parser.add_argument(
        "--samples",
        type=Path,
        metavar="FILE",
        help="rows to compare on (.npz, .npy, .parquet, .csv), with answers where it holds the outputs too; default: drawn",
    )
    parser.add_argument(
        "--serve", action="store_true", help="serve it at once; back to what was served where it is refused"
    )
    parser.add_argument("--reason", default="imported", help="kept in the audit trail (default: %(default)s)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Import it, print what it takes, how equal it is, and how to serve it. Raises as `fleetml.imports.register`, StepFailed."""
    from fleetml.cli.output import say
    from fleetml.imports.register import import_model

    found = import_model(settings, args.file, args.name, args.samples, say)
    say(f"takes    {', '.join(_shown(tensor) for tensor in found.session.inputs)}")
    say(f"answers  {', '.join(_shown(tensor) for tensor in found.session.outputs)}; {found.size_bytes:,} bytes")
    say(
        f"equal    to {found.compared}: {found.equality.rows} rows, mean difference {found.equality.mean:.1g}, "
        f"largest {found.equality.largest:.1g} of an answer's mean size"
    )
    say(f"{args.name} version {found.version} is registered, kind {found.kind}, alias {found.alias}")
    if args.serve:
        _serve(settings, args.name, found, args.reason)
    else:
        say(
            f"serve it: fleetml import … --serve, or in a deployment: {{name: {args.name}, version: '{found.version}'}}"
        )
    return 0


def _serve(settings: Settings, name: str, found: Imported, reason: str) -> None:
    """Serve a registered version on trial, until the server answers as its graph does. Raises InvalidParameter, StepFailed."""
    from fleetml.deploy import smoke, versions
    from fleetml.serving import deployment
    from fleetml.serving.rollout import actions

    root = settings.serving_dir
    _require_kind_stays(root, name, found)
    with tempfile.TemporaryDirectory() as scratch:
        candidate = versions.candidate(settings, name, found.version, Path(scratch))
        versions.install(root, candidate)
        with actions.on_trial(serving.place(settings), name, found.version, reason) as done:
            if serving.say_served(settings, name):
                smoke.ask(root, str(deployment.status(root)["address"]), candidate)
        serving.say_done(done)


def _require_kind_stays(root: Path, name: str, found: Imported) -> None:
    """Who asks a model by its kind's own question must not be refused tomorrow."""
    from fleetml.serving import backends, deployment, kinds

    served = deployment.read(root).get(name)
    if served is None or not (root / served.graph).is_file():
        return
    now, _ = kinds.of(backends.choose("cpu").load((root / served.graph).read_bytes()))
    if now != found.kind:
        raise InvalidParameter(
            f"a version must answer what the served one answers, {name} {served.version} is of the kind {now}, the registered version "
            f"{found.version} of {found.kind}; import it under another --name"
        )


def _shown(tensor: Tensor) -> str:
    dtype = "text" if tensor.dtype == object else str(tensor.dtype)
    return f"{tensor.name} {dtype} [{', '.join('any' if size is None else str(size) for size in tensor.shape)}]"
