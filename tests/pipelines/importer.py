"""An artifact from outside, brought in by dsl.importer."""

from kfp import dsl

from tests.pipelines.parts import read


@dsl.pipeline(name="importer")
def importer(uri: str, kind: str = "text"):
    found = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset, metadata={"kind": kind})
    read(data=found.output)
