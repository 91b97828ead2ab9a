"""Hyperparameter search around the better of AutoML and architecture search."""
