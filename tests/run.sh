#!/bin/sh
# Every test, each in the environment it belongs to; then the coverage of both together.
set -eu
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=2
.venv/ml/bin/coverage erase
.venv/ml/bin/coverage run -m pytest tests --ignore tests/engines/airflow
if [ -d tests/engines/airflow ]; then
  .venv/orchestrator/bin/coverage run -m pytest tests/engines/airflow
fi
.venv/ml/bin/coverage combine -q
.venv/ml/bin/coverage report
