"""MLServer: a model class around an ONNX Runtime session."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Forecaster(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {each.name: NumpyCodec.decode_input(each).astype("float32") for each in payload.inputs}
        made = self.session.run(["forecast"], given)[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("forecast", made)])
