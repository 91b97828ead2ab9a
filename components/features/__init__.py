"""features: the feature table, forecast windows with covariates from Feast, and the online store."""
