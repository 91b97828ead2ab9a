"""The contract (``ai_service.proto``) and the Python generated from it.

The generated files are committed; ``python -m fleetml.serving.proto`` writes them anew (needs grpcio-tools).
"""
