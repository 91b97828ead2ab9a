"""Submission to a Kubeflow Pipelines cluster: the committed IR as it stands, its images pinned to digests."""

from fleetml.engines.kfp.submit import Schedule, Submission, submit

__all__ = ["Schedule", "Submission", "submit"]
