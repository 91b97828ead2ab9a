"""An artifact from outside, brought in by dsl.importer: valid, and not run yet."""

from kfp import dsl

from tests.pipelines.parts import read


@dsl.pipeline(name="importer")
def importer():
    found = dsl.importer(artifact_uri="s3://bucket/data", artifact_class=dsl.Dataset)
    read(data=found.output)
