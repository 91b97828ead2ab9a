"""Architecture search: which small network forecasts best within a latency limit."""
