"""Whether a server of this machine is ready, with TLS or without: ``python -m fleetml.serving.ready [PORT]``, what images ask of themselves.

Standard library only. The certificate is not looked at: it names the host that clients know, and nothing is told here.
"""

import contextlib
import http.client
import ssl
import sys

PATH = "/v2/health/ready"
PORT = 50052
SECONDS = 4.0


def ready(port: int) -> bool:
    """Say whether what listens at a port of loopback answers that it is ready."""
    plain = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    secured = http.client.HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=_anybody())
    return any(_says_so(connection) for connection in (plain, secured))


def _anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _says_so(connection: http.client.HTTPConnection) -> bool:
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", PATH)
        return connection.getresponse().status == 200
    return False


if __name__ == "__main__":
    raise SystemExit(not ready(int(sys.argv[1]) if len(sys.argv) > 1 else PORT))
