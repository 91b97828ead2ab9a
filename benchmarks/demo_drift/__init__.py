"""The closed loop, shown end to end: ``make demo-drift`` (docs/demo-drift.md).

A stack of its own, a champion, traffic over gRPC from days that it has not seen, a change put into the metrics. What happens
then is done by the shipped parts alone: monitor notices, its event starts the retrain in Airflow, the gate lets the challenger
pass, the rollout controller tries and promotes it. Then a bad version is pushed past the gate, and rolled back.
"""
