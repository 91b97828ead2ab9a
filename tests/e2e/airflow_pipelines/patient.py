"""A step that is tried again."""

from kfp import dsl
from parts import stumble


@dsl.pipeline(name="patient")
def patient(folder: str, times: int = 1):
    stumble(folder=folder, times=times).set_caching_options(False).set_retry(2, backoff_duration="0s")
