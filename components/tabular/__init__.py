"""Learning from any table: CSV or Parquet in, ONE ONNX graph out; the task types of a workflow."""
