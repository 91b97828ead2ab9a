"""Rollout: a second version is tried on a share of the VMs, and promoted or rolled back on evidence (ADR 10).

``decision`` is the pure part, evidence → continue, promote or roll back; ``evidence`` reads it from the prediction log and
the truth; ``controller`` looks, decides and acts (``python -m fleetml.serving.rollout``); ``actions`` are what it and a person
may do to a rollout, each with its line in the audit trail.
"""
