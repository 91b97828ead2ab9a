"""Tables of columns of any type: from raw columns to one ONNX graph."""
