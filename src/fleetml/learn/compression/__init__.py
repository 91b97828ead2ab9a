"""Compression: smaller graphs that lose no more than allowed, each technique one module, and the search for the best chain."""
