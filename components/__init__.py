"""The stages of FleetML's pipelines: each folder is one stage, a typed KFP edge beside the plain Python."""
