"""``python -m fleetml.start``: the command of a step that starts another pipeline. Our engines never execute it.

They know it by this command and start the pipeline themselves, for only they know where and with what. Standard library only.
"""

import sys

COMMAND = ("python", "-m", "fleetml.start")
REFUSAL = (
    "a step that starts another pipeline runs on this machine and on Airflow, not on a KFP cluster; make that pipeline "
    "a part of this one (call it as a component), or submit both"
)

if __name__ == "__main__":
    sys.exit(f"error: {REFUSAL}")
