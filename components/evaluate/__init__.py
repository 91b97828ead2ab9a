"""evaluate: every candidate judged as the graph it would be served as; gate: which one, and whether it goes live."""
