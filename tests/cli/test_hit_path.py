"""A run of cache hits needs the standard library's light part only: everything else would take longer than the run."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.small_pipelines import Pipeline

HEAVY = {
    *("yaml", "rich", "fsspec", "pydantic", "psutil", "kfp", "docker", "kubernetes", "redis", "openlineage"),
    *(
        "asyncio",
        "concurrent",
        "ctypes",
        "dataclasses",
        "datetime",
        "decimal",
        "difflib",
        "inspect",
        "email",
        "http",
        "importlib.metadata",
    ),
    *("logging", "random", "shutil", "socket", "sqlite3", "ssl", "statistics", "subprocess", "tempfile", "tomllib"),
    *("traceback", "urllib.request", "uuid", "xml"),
}
TOLD = """
import json, sys
before = set(sys.modules)
from fleetml.cli import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted(set(sys.modules) - before)]))
"""


def test_a_run_of_cache_hits_loads_nothing_heavy(pipeline: Pipeline, environ: dict[str, str]) -> None:
    code = "def a():\n    return {'out': 1}\ndef b(a=0):\n    return {'out': a + 1}\n"
    ir = pipeline(code, {"a": [], "b": ["a"]})
    ir.write_text(f"# YAML, not JSON\n{ir.read_text()}")
    ir.with_name("triggers.yaml").write_text("owner: me\n")

    def run() -> tuple[str, int, set[str]]:
        command = [sys.executable, "-c", TOLD, "run", str(ir)]
        *said, told = subprocess.run(command, env=environ, capture_output=True, text=True).stdout.splitlines()
        status, loaded = json.loads(told)
        return "\n".join(said), status, set(loaded)

    _, status, loaded = run()
    assert status == 0
    assert "fleetml.engines.local" in loaded
    said, status, loaded = run()
    assert (status, said.count(" cached ")) == (0, 2), said
    assert sorted(loaded & HEAVY) == []
    assert not {
        name for name in loaded if name.startswith(("fleetml.report.live", "fleetml.stack", "fleetml.compiler"))
    }
