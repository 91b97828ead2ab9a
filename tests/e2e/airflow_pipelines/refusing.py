"""A step whose user made a mistake: trying again is no use."""

from kfp import dsl
from parts import refuse


@dsl.pipeline(name="refusing")
def refusing(n: int = 1):
    refuse(n=n).set_retry(3, backoff_duration="0s")
