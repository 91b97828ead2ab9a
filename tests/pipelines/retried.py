"""Retries of a whole sub-pipeline: valid, and not run yet."""

from kfp import dsl

from tests.pipelines.parts import echo


@dsl.pipeline(name="inside")
def inside():
    echo(text="x")


@dsl.pipeline(name="retried")
def retried():
    inside().set_retry(2)
