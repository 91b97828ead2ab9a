"""federated: one forecaster trained in rounds over regions whose windows stay where they are."""
