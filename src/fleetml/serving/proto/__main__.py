"""Generate the Python of the contracts: ``python -m fleetml.serving.proto [FOLDER]``, or ``make proto``.

FOLDER (default: where this package lies) is the import root that the files are written under. What callers need of
AIService lies in their package, `fleetml_client`, which the server uses, too: a process can know a message only once.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
_HERE = Path(__file__).parent
# Import root as protoc shall see it = where it is; the file in it
PROTOS = (
    (f"fleetml_client={_HERE}", "fleetml_client/ai_service.proto"),
    (f"{ROOT}", "fleetml/serving/proto/open_inference.proto"),
)


def generate(root: Path) -> None:
    """Write ``<name>_pb2.py``, ``.pyi`` and ``_pb2_grpc.py`` of each under the import root `root`.

    Raises RuntimeError when the compiler refuses the contract; its reason stands on stderr.
    """
    import grpc_tools
    from grpc_tools import protoc

    known = Path(grpc_tools.__file__).parent / "_proto"  # google/protobuf/*.proto
    root.mkdir(parents=True, exist_ok=True)
    out = [f"--{kind}={root}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    for place, proto in PROTOS:
        if protoc.main(["protoc", f"--proto_path={place}", f"--proto_path={known}", *out, proto]) != 0:
            raise RuntimeError(f"the compiler refused {proto}")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
