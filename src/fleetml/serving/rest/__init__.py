"""REST: the Open Inference Protocol, predictions in JSON, metrics; a plain ASGI application."""
