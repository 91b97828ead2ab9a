"""Anomalies in time: a machine's last steps against how it went before, each detector ONE graph (docs/adr/0011).

`mahalanobis` is for many metrics of one machine, or of machines alike, `novelty` for one series; `judge` compares them.
"""
