"""What an operator of real regions types: keys, link, node (`fleetml federation`)."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from components.federated import keys
from components.federated.link import PORT
from fleetml.errors import FleetMLError, InvalidData, InvalidParameter

if TYPE_CHECKING:
    from fleetml.learn.windows import Windows


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except FleetMLError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fleetml federation", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    made = commands.add_parser("keys", help="make the keys of a link, or of a region where the region is")
    made.add_argument("folder", type=Path, help="where they are written; private ones with mode 0600")
    made.add_argument("--region", metavar="NAME", help="make this region's key pair, in place of a link's")
    made.add_argument(
        "--host", action="append", metavar="HOST", help="name or address by which regions reach the link (127.0.0.1)"
    )
    made.set_defaults(run=_keys)
    link = commands.add_parser("link", help="serve the regions whose public keys lie in FOLDER/regions")
    link.add_argument("folder", type=Path, help="of `keys`")
    link.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    link.add_argument("--port", type=int, default=PORT, help="port to listen on (default: %(default)s)")
    link.set_defaults(run=_link)
    node = commands.add_parser("node", help="take part for a region, beside its data")
    node.add_argument("link", metavar="HOST:PORT", help="where the link answers")
    node.add_argument("--key", type=Path, required=True, help="the region's private key; its name is the region's")
    node.add_argument("--authority", type=Path, required=True, help="authority.pem of the link's folder")
    data = node.add_mutually_exclusive_group(required=True)
    data.add_argument("--windows", type=Path, help="folder of train and val, as the features stage writes them")
    data.add_argument(
        "--table", type=Path, help="canonical table, of which windows are made as the features stage does"
    )
    node.add_argument("--target", default="bandwidth", help="what is forecast (default: %(default)s)")
    node.add_argument("--seed", type=int, default=0, help="of the choice of windows (default: %(default)s)")
    node.add_argument(
        "--epsilon",
        type=float,
        default=0.0,
        help="what local privacy all runs of this region together may spend; written down in KEY.spent",
    )
    node.set_defaults(run=_node)
    return parser


def _keys(args: argparse.Namespace) -> None:
    if not args.region:
        keys.make_link(args.folder, args.host or ["127.0.0.1", "localhost"])
        _say(f"{args.folder / keys.AUTHORITY} goes to every region; its .pub comes to {args.folder / keys.REGIONS}")
        return
    public = keys.make_region(args.folder, args.region)
    _say(f"{public} goes to the link's folder {keys.REGIONS}; {public.with_suffix('.key').name} stays here")


def _link(args: argparse.Namespace) -> None:
    from components.federated.link import serve

    serve(args.folder, args.host, args.port)


def _node(args: argparse.Namespace) -> None:
    """Make the region's learner of its data, then answer until told to end."""
    import torch

    from components.federated import spent
    from components.federated.app import REGION, client_app
    from components.federated.forecaster import Forecaster
    from components.federated.leaving import EPSILON, SPENT
    from components.federated.node import Node
    from components.federated.protection import MODS

    torch.set_num_threads(1)
    node = Node(args.link, args.authority, args.key)
    config: dict[str, str | float] = {REGION: args.key.stem}
    with ExitStack() as held:
        held.enter_context(keys.alone(args.key))
        if args.epsilon:
            place = spent.beside(args.key)
            held.enter_context(spent.begun(place))
            config |= {EPSILON: args.epsilon, SPENT: str(place)}
        with _data(args) as (train, held_out):
            learner = Forecaster(train, held_out)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: node.end())
        node.serve(client_app(lambda context: learner, MODS), config)


@contextmanager
def _data(args: argparse.Namespace) -> Iterator[tuple[Windows, Windows]]:
    """Return the windows that a region trains on and those it judges by. Raises InvalidData, InvalidParameter."""
    from fleetml.learn import search, windows

    with tempfile.TemporaryDirectory() as made:  # mode 0700
        folder = args.windows or features(args.table, Path(made), args.target, args.seed)
        train, held_out = (windows.load(_found(folder, name)) for name in ("train", "val"))
        yield search.require_scored(train, "train"), search.require_scored(held_out, "val")


def features(table: Path, folder: Path, target: str, seed: int) -> Path:
    """Run the features stage on a region's canonical table, as every engine runs a stage; return `folder`, which holds the splits.

    Raises InvalidParameter for a table that is not there, InvalidData with what the stage says.
    """
    if not table.exists():
        raise InvalidParameter(f"--table is a canonical table, {table} is not there; name a file that `ingest` wrote")
    outputs = ("features", "train", "val", "test", "metrics")
    task = {
        "inputs": {
            "parameterValues": {"target": target, "seed": seed},
            "artifacts": {"data": {"artifacts": [{"name": "data", "uri": str(table.absolute())}]}},
        },
        "outputs": {
            "artifacts": {name: {"artifacts": [{"name": name, "uri": str(folder / name)}]} for name in outputs},
            "outputFile": str(folder / "executor_output.json"),
        },
    }
    command = [sys.executable, "-m", "fleetml.component", "components.features.features:features", json.dumps(task)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines() or ["it said nothing"]
        raise InvalidData(f"the features stage must make windows of {table}: {said[-1]}")
    return folder


def _found(folder: Path, name: str) -> Path:
    """Return a split's file, whether a person or a run named it."""
    for place in (folder / name, folder / f"{name}.parquet"):
        if place.is_file():
            return place
    raise InvalidParameter(
        f"--windows is a folder that holds train and val, {folder} has no {name}; name the outputs of the features stage"
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
