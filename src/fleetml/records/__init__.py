"""The records of a run: files under ``<home>/runs/<run_id>``, each written aside and renamed.

    run.json                            run_id, pipeline, digest, engine, parameters, state, started, finished,
                                        steps (names in order), cost (sums), pid; begun: this stretch of it (a resumed run
                                        has several); due: when it should have begun; told: the end of the latest attempt
                                        in the figures of all runs; of the local engine: caching
    pipeline.yaml                       the IR that runs, as it was read
    steps/<step>/attempt-<n>.json       one attempt: see `Attempt`
    steps/<step>/attempt-<n>.log        its output
    workspace/                          what its steps share beside artifacts, where the pipeline asks for that

Times are seconds since the epoch, UTC. States of steps stand in their attempts only.
"""

from fleetml.records.attempt import Attempt
from fleetml.records.run import Run, fresh_id, runs

__all__ = ["Attempt", "Run", "fresh_id", "runs"]
