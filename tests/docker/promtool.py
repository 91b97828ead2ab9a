"""Prometheus' own checker, where it is installed."""

import shutil

PROMTOOL = shutil.which("promtool")
