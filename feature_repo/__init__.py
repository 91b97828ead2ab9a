"""The feature repository: entities, sources, views and services of Feast, built by functions that take paths."""
