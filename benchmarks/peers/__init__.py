"""The same ten steps as a user of each peer writes them, and the environment they run in."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv" / "peers"
LOCK = ROOT / "benchmarks" / "requirements.txt"


def python() -> Path | None:
    """Return the Python of the peers' environment, built from its lock at first; None where that cannot be done."""
    stamp = VENV / LOCK.name
    if not stamp.exists() or stamp.read_bytes() != LOCK.read_bytes():
        try:
            _build()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"no peers but kfp: their environment cannot be built ({error})", file=sys.stderr)
            return None
        shutil.copy(LOCK, stamp)
    return VENV / "bin" / "python"


def _build() -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    subprocess.run([VENV / "bin" / "python", "-m", "pip", "install", "-q", "-r", LOCK], check=True)
