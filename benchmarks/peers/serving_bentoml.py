"""BentoML: a service around an ONNX Runtime session; FORECASTER names the graph, WORKERS the processes."""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=int(os.environ["WORKERS"]), traffic={"timeout": 60})
class Forecaster:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["FORECASTER"], options)

    @bentoml.api
    def forecast(self, history: list[list[float]]) -> list[list[float]]:
        given = np.array(history, np.float32)
        covariates = np.empty((len(given), 0), np.float32)
        return self.session.run(["forecast"], {"history": given, "covariates": covariates})[0].tolist()
