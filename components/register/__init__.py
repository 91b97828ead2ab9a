"""Register: the champion of a model, and a new version with its lineage."""
