"""What measured scenarios cost, for Prometheus: three endpoints whose text is made when files change, never when they are asked."""
