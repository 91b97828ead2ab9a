"""train: a model of fixed shape, without a search."""
