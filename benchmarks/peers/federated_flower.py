"""Plain Flower's app of federated_real: our learner in its ClientApp, its FedAvg in its ServerApp. Each process loads one of the two."""

import json
import time
from pathlib import Path

import psutil


def client():
    import torch

    from components.federated.app import client_app

    torch.set_num_threads(1)

    def learner(context):
        from components.federated.forecaster import Forecaster
        from fleetml.learn import windows

        folder = Path(context.node_config["windows"])
        return Forecaster(windows.load(folder / "train"), windows.load(folder / "val"))

    return client_app(learner)


def server():
    from flwr.serverapp import ServerApp

    app = ServerApp()

    @app.main()
    def main(grid, context):
        import numpy as np
        import torch
        from flwr.app import ConfigRecord
        from flwr.serverapp.strategy import FedAvg

        from components.federated.forecaster import arrays_of, network_of
        from components.federated.records import WEIGHT, packed, unpacked
        from fleetml.learn.windows import Meta

        torch.set_num_threads(1)
        asked, folder = context.run_config, Path(context.run_config["folder"])

        class Timed(FedAvg):
            """FedAvg that writes a line for each round that all regions answered: its seconds, and CPU seconds of all processes."""

            def configure_train(self, *given):
                self.began, self.cpu = time.monotonic(), cpu(asked["root"])
                return super().configure_train(*given)

            def aggregate_train(self, number, replies):
                replies = list(replies)
                made = super().aggregate_train(number, replies)
                told = {"seconds": time.monotonic() - self.began, "cpu": cpu(asked["root"]) - self.cpu}
                if sum(not each.has_error() for each in replies) == asked["nodes"]:
                    with (folder / "rounds").open("a") as file:
                        file.write(json.dumps(told) + "\n")
                return made

        given = {"epochs": 1, "rounds": asked["rounds"], "seed": 0, "weights": "examples"}
        strategy = Timed(
            fraction_evaluate=0.0,
            min_train_nodes=asked["nodes"],
            min_available_nodes=asked["nodes"],
            weighted_by_key=WEIGHT,
        )
        result = strategy.start(
            grid=grid,
            initial_arrays=packed(arrays_of(network_of(Meta(), 0))),
            num_rounds=asked["rounds"],
            train_config=ConfigRecord(given),
        )
        np.savez(folder / "arrays.npz", **unpacked(result.arrays))

    return app


def cpu(root):
    """Return the CPU seconds until now of what a process started, of those that have ended, too."""
    total = 0.0
    for each in psutil.Process(root).children(recursive=True):
        try:
            total += sum(each.cpu_times()[:4])  # its own, and of those of its children that it waited for
        except psutil.NoSuchProcess:
            pass
    return total
