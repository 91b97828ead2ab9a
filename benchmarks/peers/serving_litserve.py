"""LitServe: an API class around an ONNX Runtime session."""

import sys

import litserve
import numpy as np
import onnxruntime


class Forecaster(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[1], options)

    def decode_request(self, request):
        return np.array(request["history"], np.float32)

    def predict(self, history):
        covariates = np.empty((len(history), 0), np.float32)
        return self.session.run(["forecast"], {"history": history, "covariates": covariates})[0]

    def encode_response(self, forecast):
        return {"forecast": forecast.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Forecaster(), accelerator="cpu", workers_per_device=int(sys.argv[3]))
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[2]),
        num_api_servers=int(sys.argv[3]),
        generate_client_file=False,
        log_level="error",
    )
