"""Artifacts that a whole pipeline is given: one it needs, one it can do without."""

from kfp import dsl

from tests.pipelines.parts import read


@dsl.container_component
def has(data: dsl.Input[dsl.Dataset] = None, out: dsl.OutputPath(str) = None):
    code = "import sys\nopen(sys.argv[1], 'w').write('given' if len(sys.argv) > 2 else 'not given')"
    return dsl.ContainerSpec(
        image="fleetml/ml",
        command=["python", "-c", code],
        args=[out, dsl.IfPresentPlaceholder(input_name="data", then=[data.path])],
    )


@dsl.pipeline(name="given")
def given(data: dsl.Input[dsl.Dataset], more: dsl.Input[dsl.Dataset] = None):
    read(data=data)
    has(data=more)
