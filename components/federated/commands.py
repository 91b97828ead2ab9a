"""What an operator of real regions types: keys, link, node (`fleetml federation`)."""

from __future__ import annotations

import argparse
import json
import logging
import math
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from components.federated import keys
from components.federated.link import PORT
from fleetml.errors import FleetMLError, InvalidData, InvalidParameter

if TYPE_CHECKING:
    from fleetml.learn.windows import Windows

log = logging.getLogger(__name__)
_ALL_DAYS = 36500  # of a region's table all is used


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
    node.add_argument("link", type=_address, metavar="HOST:PORT", help="where the link answers")
    node.add_argument("--key", type=Path, required=True, help="the region's private key; its name is the region's")
    node.add_argument("--authority", type=Path, required=True, help="authority.pem of the link's folder")
    data = node.add_mutually_exclusive_group(required=True)
    data.add_argument("--windows", type=Path, help="folder of train and val, as the features stage writes them")
    data.add_argument(
        "--table",
        type=Path,
        help="VM metrics that the stage ingest reads, of which windows are made as the pipeline does",
    )
    node.add_argument("--mapping", default="", help="of the table's columns, as of the pipeline (default: recognised)")
    node.add_argument("--target", default="bandwidth", help="what is forecast (default: %(default)s)")
    node.add_argument("--seed", type=int, default=0, help="of the choice of windows (default: %(default)s)")
    node.add_argument(
        "--epsilon",
        type=_epsilon,
        help="what local privacy all runs of this region together may spend; written down in KEY.spent",
    )
    node.set_defaults(run=_node)
    return parser


def _address(text: str) -> str:
    found = re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", text)
    if not found or not 0 < int(found[1]) < 2**16:
        raise argparse.ArgumentTypeError(f"must be HOST:PORT, such as link.example.org:{PORT}, got {text!r}")
    return text


def _epsilon(text: str) -> float:
    with suppress(ValueError):
        if 0 < (value := float(text)) < math.inf:
            return value
    raise argparse.ArgumentTypeError(f"must be a number above 0, such as 8, got {text!r}; leave it out for no budget")


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
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # what was made of the data goes, too
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
        folder = args.windows or features(args.table, Path(made), args.target, args.seed, args.mapping)
        train, held_out = (windows.load(_found(folder, name)) for name in ("train", "val"))
        yield search.require_scored(train, "train"), search.require_scored(held_out, "val")


def features(table: Path, folder: Path, target: str, seed: int, mapping: str = "") -> Path:
    """Make windows of a region's table by the stages ingest and features; return `folder`, which holds the splits.

    Raises InvalidParameter for a table that is not there, InvalidData with what a stage says.
    """
    if not table.exists():
        raise InvalidParameter(f"--table is a file or folder of VM metrics, {table} is not there; name one that is")
    log.warning("windows are made of %s", table)
    source = {"source": str(table.absolute()), "mapping": mapping, "window_days": _ALL_DAYS, "window_end": ""}
    _stage("ingest", source, {}, folder, ("data", "metrics"))
    given = {"target": target, "seed": seed}
    _stage("features", given, {"data": folder / "data"}, folder, ("features", "train", "val", "test", "metrics"))
    return folder


def _stage(
    name: str, parameters: Mapping[str, object], inputs: Mapping[str, Path], folder: Path, outputs: Sequence[str]
) -> None:
    """Run a stage as every engine does. Raises InvalidData with what it says."""
    given, made = (
        {each: {"artifacts": [{"name": each, "uri": str(path)}]} for each, path in places.items()}
        for places in (inputs, {each: folder / each for each in outputs})
    )
    task = {
        "inputs": {"parameterValues": parameters, "artifacts": given},
        "outputs": {"artifacts": made, "outputFile": str(folder / "executor_output.json")},
    }
    command = [sys.executable, "-m", "fleetml.component", f"components.{name}.{name}:{name}", json.dumps(task)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines() or ["it said nothing"]
        raise InvalidData(
            f"windows are made of --table by ingest and features, {name} says: {said[-1].removeprefix('error: ')}"
        )


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
