"""Run the server: ``python -m fleetml.serving --dir DIR [--port 50051] [--workers 4] …``; ``--help`` lists all."""

import argparse
import logging
import sys
from pathlib import Path

from fleetml.errors import ConfigurationError, FleetMLError
from fleetml.serving import backends
from fleetml.serving.options import Access, Limits, Options


def main(argv: list[str] | None = None) -> int:
    """Serve until told to end; return the exit status."""
    given = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        from fleetml.serving.keeper import keep

        return keep(_options(given), given.workers)
    except FleetMLError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except OSError as error:
        said = f"the server must write into {given.dir}, the system says: {error.strerror or error}; mend --dir"
        print(f"error: {said}", file=sys.stderr)  # noqa: T201
        return 1


def options(argv: list[str]) -> tuple[Options, int]:
    """Return what a command line says, and the number of workers. Raises ConfigurationError."""
    given = _parser().parse_args(argv)
    return _options(given), given.workers


def _options(given: argparse.Namespace) -> Options:
    """Raises ConfigurationError for what no server can do."""
    for name, least, most in (
        ("log_share", 0.0, 1.0),
        ("workers", 1, 256),
        ("queued_rows", 1, 1e9),
        ("batch_rows", 1, 1e6),
    ):
        if not least <= getattr(given, name) <= most:
            raise ConfigurationError(
                f"--{name.replace('_', '-')} must be from {least:g} to {most:g}, got {getattr(given, name)}; correct it"
            )
    limits = Limits(
        given.queued_rows, given.batch_rows, given.client_rate, given.cache, given.cache_seconds, given.connections
    )
    access = Access(given.tls_certificate, given.tls_key, given.tokens)
    if said := access.exposed(given.host):
        logging.getLogger(__name__).warning("%s", said)
    return Options(
        root=given.dir.absolute(),
        host=given.host,
        port=given.port,
        http_port=given.http_port,
        feature_store=given.feature_store,
        backend=given.backend,
        log_share=given.log_share,
        limits=limits,
        access=access,
        textfiles=tuple(folder.absolute() for folder in given.textfiles),
        status_dir=given.status_dir and given.status_dir.absolute(),
        settings=given.settings and given.settings.absolute(),
    )


def _parser() -> argparse.ArgumentParser:
    known, limits = Options(Path()), Limits()
    parser = argparse.ArgumentParser(
        prog="python -m fleetml.serving", description="Serve the deployed models over gRPC and HTTP."
    )
    add = parser.add_argument
    add("--dir", type=Path, required=True, help="the serving folder, which deploy writes")
    add("--host", default=known.host, help="address to listen on (default: loopback only)")
    add("--port", type=int, default=known.port, help="of gRPC; 0: any free port, said on standard output")
    add("--http-port", type=int, help="of REST (default: the next one, if it is free; server.json tells)")
    add(
        "--workers",
        type=int,
        default=1,
        help="processes on the same ports; one that dies is started again (default: 1)",
    )
    add("--status-dir", type=Path, help="where it tells what it has loaded (default: --dir), for several on one --dir")
    add(
        "--settings", type=Path, help="a file that fleetml deploy writes: it goes before these options, and is followed"
    )
    add("--feature-store", type=Path, help="folder of the online feature store (default: no covariates)")
    add("--backend", choices=backends.NAMES, default=known.backend, help="what runs the graphs (default: cpu)")
    add("--log-share", type=float, default=known.log_share, help="share of the answers that are logged (default: 1)")
    add("--tokens", type=Path, help="file of tokens: '<token> <client> [<end>]' a line (default: anybody may ask)")
    add("--tls-certificate", type=Path, help="PEM file (default: no TLS)")
    add("--tls-key", type=Path, help="PEM file")
    add("--client-rate", type=float, default=limits.client_rate, help="requests a second of one client (default: any)")
    add(
        "--queued-rows",
        type=int,
        default=limits.queued_rows,
        help="rows that wait for a version before it refuses more",
    )
    add("--batch-rows", type=int, default=limits.batch_rows, help="rows of questions that run together at most")
    add("--cache", type=int, default=limits.cache_entries, help="answers kept for the same question (default: none)")
    add("--cache-seconds", type=float, default=limits.cache_seconds, help="how long they are kept")
    add(
        "--textfiles",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="its *.prom are told at /metrics, too (the figures of runs: metrics of the home); again for more",
    )
    add("--connections", type=int, default=limits.connections, help="at once, over gRPC and HTTP each")
    return parser


if __name__ == "__main__":
    sys.exit(main())
