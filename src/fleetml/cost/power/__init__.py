"""Power models: measured scenarios -> watts of others, with intervals. Fitted by numpy, predicted from without it."""
