"""What measured workloads draw: power model, recommendation, export."""
