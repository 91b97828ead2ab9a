"""MLflow: a pyfunc around an ONNX Runtime session."""

import mlflow
import numpy as np
import onnxruntime


class Forecaster(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(context.artifacts["graph"], options)

    def predict(self, context, model_input, params=None):
        history = np.asarray(model_input["history"], np.float32)
        covariates = np.empty((len(history), 0), np.float32)
        return self.session.run(["forecast"], {"history": history, "covariates": covariates})[0].tolist()


mlflow.models.set_model(Forecaster())
