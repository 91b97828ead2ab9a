"""The Open Inference Protocol, version 2, over gRPC and REST: any loaded model, by raw tensors."""
