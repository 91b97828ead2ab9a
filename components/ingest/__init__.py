"""Ingest: any source of VM metrics into the canonical table."""
