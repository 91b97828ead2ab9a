"""A failed step, and after it only one that runs whatever happened."""

from kfp import dsl
from parts import refuse, twice


@dsl.pipeline(name="outlived")
def outlived():
    bad = refuse(n=1)
    twice(n=1).after(bad).ignore_upstream_failure()
