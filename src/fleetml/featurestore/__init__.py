"""What FleetML adds to Feast: an offline store whose point-in-time join scales."""
