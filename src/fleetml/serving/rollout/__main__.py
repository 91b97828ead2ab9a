"""Run the controller: ``python -m fleetml.serving.rollout --dir DIR --registry URI [--seconds 15] [--port 9109]``.

Where the environment holds FLEETML_ALERT_WEBHOOK, it tells that URL of what the monitor found, too, and with --figures of budgets.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from dataclasses import fields
from pathlib import Path

from prometheus_client import start_http_server

from fleetml.errors import FleetMLError, Unavailable
from fleetml.serving import alerts, circuits, webhook
from fleetml.serving.registry_http import breaker
from fleetml.serving.rollout import controller
from fleetml.serving.rollout.actions import Place
from fleetml.serving.rollout.decision import Policy

WHO = "rollout"

log = logging.getLogger("fleetml.serving.rollout")


def main(argv: list[str] | None = None) -> int:
    """Look every few seconds until told to end; return the exit status."""
    given = vars(_parser().parse_args(argv))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    place = Place(given.pop("dir").absolute(), given.pop("registry"), WHO)
    seconds, host, port, figures = (given.pop(name) for name in ("seconds", "host", "port", "figures"))
    policy = Policy(**given)
    circuits.follow()
    if place.registry.startswith("http"):
        breaker(place.registry)  # so that its state is told before it is asked
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    if port:
        try:
            start_http_server(port, host)
        except OSError as error:
            log.error("the metrics need %s:%d, which is taken (%s); choose another --port", host, port, error)
            return Unavailable.exit_code
    if url := os.environ.get("FLEETML_ALERT_WEBHOOK", ""):
        try:
            webhook.require(url)
        except FleetMLError as error:
            log.error("%s", error)
            return error.exit_code
        told = (place.root, figures, url, end.wait)
        threading.Thread(target=alerts.follow, args=told, daemon=True, name="alerts").start()
    while not end.is_set():
        try:
            controller.look(place, policy)
        except (FleetMLError, OSError) as error:  # a deployment.json that cannot be read, a full disk: for now
            log.error("%s", error)
        except Exception:  # of a library, MLflow's say: one look that fails must not be the last
            log.exception("this look failed, the next is in %g s", seconds)
        end.wait(seconds)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fleetml.serving.rollout", description="Promote or roll back what is on its way, on evidence."
    )
    parser.add_argument("--dir", type=Path, required=True, help="the serving folder")
    parser.add_argument("--registry", default="", help="MLflow URI whose aliases follow (default: none)")
    parser.add_argument("--host", default="127.0.0.1", help="where the metrics are told (default: loopback only)")
    parser.add_argument("--port", type=int, default=0, help="of the metrics for Prometheus; 0 (the default): nowhere")
    parser.add_argument(
        "--figures", type=Path, metavar="FILE", help="the runs.prom of a home, whose budgets are told as alerts, too"
    )
    parser.add_argument("--seconds", type=float, default=15.0, help="from look to look (default: %(default)s)")
    defaults = Policy()
    parser.add_argument("--steps", type=_shares, default=defaults.steps, help="of a canary (default: 0.05,0.25,0.5)")
    for known in fields(Policy):
        if known.name != "steps":
            value = getattr(defaults, known.name)
            option = f"--{known.name.replace('_', '-')}"
            parser.add_argument(option, type=type(value), default=value, help="default: %(default)s")
    return parser


def _shares(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(share) for share in text.split(","))
    except ValueError:
        found = ()
    if not found or list(found) != sorted(set(found)) or not 0 < found[0] <= found[-1] <= 1:
        raise argparse.ArgumentTypeError(
            f"steps are shares from above 0 to 1, each larger than the one before, got {text!r}"
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
