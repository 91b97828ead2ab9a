"""AutoML: which tabular family forecasts best."""
