"""Deploy: the server serves a version once it answers for it over gRPC."""
