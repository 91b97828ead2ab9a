"""``fleetml cache ls | explain RUN STEP | rm``: what is in the cache, why a step was reused or run, forget it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fleetml.cli.age import age
from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.cache import Entry, Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The three of them."""
    what = parser.add_subparsers(dest="action", required=True, metavar="ls | explain | rm")
    ls = what.add_parser("ls", help="list entries, the latest first")
    _add_filters(ls)
    explain = what.add_parser("explain", help="say why a step was reused or run, and what changed")
    explain.add_argument("run", help="a run id; `fleetml ls` lists them")
    explain.add_argument("step", help="a step's name, as `fleetml status RUN` shows it")
    rm = what.add_parser("rm", help="forget entries; `fleetml gc` frees results that nobody needs then")
    _add_filters(rm)
    rm.add_argument("--all", action="store_true", help="every entry")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--step", metavar="NAME", help="only of this step")
    parser.add_argument("--pipeline", metavar="NAME", help="only of this pipeline")
    parser.add_argument("--older-than", type=age, metavar="AGE", help="only older ones: 90s, 15m, 12h, 30d or 8w")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do it. Raises ConfigurationError for a run or step that is not there, Unavailable for a Redis that is not."""
    from fleetml.cache import store_of

    store = store_of(settings)
    if args.action == "ls":
        return _ls(store, args, settings)
    return _explain(store, args, settings) if args.action == "explain" else _rm(store, args)


def _ls(store: Store, args: argparse.Namespace, settings: Settings) -> int:
    from fleetml.cli.output import complain, say_table

    rows = []
    for key, entry in sorted(_chosen(store, args), key=lambda pair: -pair[1].created):
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.created))
        state = "expired" if entry.expired(settings.cache.ttl) else "valid"
        rows.append((key[:12], created, state, entry.pipeline, entry.step, entry.result))
    say_table(("KEY", "CREATED", "STATE", "PIPELINE", "STEP", "RESULT"), rows)
    if not rows:
        complain("the cache holds no such entry" if any(_filters(args)) else "the cache holds no entry yet")
    return 0


def _explain(store: Store, args: argparse.Namespace, settings: Settings) -> int:
    from fleetml.cache.explain import explain
    from fleetml.cli.output import say
    from fleetml.errors import ConfigurationError
    from fleetml.records import Run

    steps = Run(settings.home, args.run).read()["steps"]
    if args.step not in steps:
        raise ConfigurationError(f"run {args.run} has no step '{args.step}'; its steps are {', '.join(steps)}")
    for line in explain(settings.home, store, args.run, args.step):
        say(line)
    return 0


def _rm(store: Store, args: argparse.Namespace) -> int:
    from fleetml.cli.output import say
    from fleetml.errors import InvalidParameter

    if not (args.all or any(_filters(args))):
        raise InvalidParameter("rm needs to know which entries: --step, --pipeline, --older-than or --all")
    removed = sum(store.remove(key) for key, _ in list(_chosen(store, args)))
    say(f"removed {removed} {'entry' if removed == 1 else 'entries'}")
    return 0


def _filters(args: argparse.Namespace) -> tuple[bool, ...]:
    return args.step is not None, args.pipeline is not None, args.older_than is not None


def _chosen(store: Store, args: argparse.Namespace) -> Iterator[tuple[str, Entry]]:
    for key, entry in store.entries():
        if (
            args.step in (None, entry.step)
            and args.pipeline in (None, entry.pipeline)
            and (args.older_than is None or time.time() - entry.created > args.older_than)
        ):
            yield key, entry
