"""Federated rounds whose process is killed in the fourth, after the checkpoint of the third: for test_rounds."""

import os
import signal
import sys
from pathlib import Path

from components.federated.checkpoint import Checkpoint, State
from tests.components.federated.learners import Pull, train


class Killed(Checkpoint):
    def write(self, state: State) -> None:
        super().write(state)
        if state.number == 3:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    regions = {name: Pull(number, number + 1, chance=1.0) for number, name in enumerate("abcde")}
    train(regions, Killed(Path(sys.argv[1])), strategy=sys.argv[2], rounds=6, fraction=0.7, min_clients=3)
