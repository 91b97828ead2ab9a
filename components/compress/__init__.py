"""Compression: an INT8 graph that loses no more than allowed."""
