#!/bin/sh
# Every test, each in the environment it belongs to; then the coverage of both together, and the sum of both.
set -u
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=2
results=.cache/tests
rm -rf "$results" && mkdir -p "$results"
.venv/ml/bin/coverage erase
status=0
.venv/orchestrator/bin/coverage run -m pytest --junitxml "$results/orchestrator.xml" tests/engines/airflow || status=1
# A file a process; what starts whole stacks goes alone afterwards, for it takes every core by itself. After a process
# that crashed the others wait for ever for its files, so none is started in its place and the run ends there.
.venv/ml/bin/coverage run -m pytest --junitxml "$results/ml.xml" -n auto --maxprocesses 4 --dist loadfile \
  --max-worker-restart 0 --ignore tests/engines/airflow --ignore tests/stack --ignore tests/e2e tests || status=1
.venv/ml/bin/coverage run -m pytest --junitxml "$results/stack.xml" tests/stack tests/e2e || status=1
.venv/ml/bin/coverage combine -q && .venv/ml/bin/coverage report || status=1
.venv/ml/bin/python - "$results"/*.xml <<'END' || status=1
import sys
import xml.etree.ElementTree as tree

suites = [suite for path in sys.argv[1:] for suite in tree.parse(path).iter("testsuite")]
tests, bad, skipped = (
    sum(int(suite.get(name, 0)) for suite in suites for name in names)
    for names in (("tests",), ("failures", "errors"), ("skipped",))
)
print(f"{tests - bad - skipped} passed, {bad} failed, {skipped} skipped")
END
exit $status
