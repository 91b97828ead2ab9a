"""A deployment: which models are served, by what, how widely; checked, written for clusters, served on this machine."""
