"""Small components of the test pipelines: they really run, with nothing but Python."""

from kfp import dsl

_WRITE = (
    "import pathlib, sys\n"
    "pairs = sys.argv[2 : 2 + 2 * int(sys.argv[1])]\n"
    "for path, text in zip(pairs[::2], pairs[1::2]):\n"
    "    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)\n"
    "    pathlib.Path(path).write_text(text)\n"
)


def write(*pairs: object) -> dsl.ContainerSpec:
    """Return a container that writes each text to its path (path, text, path, text, …); further args are not read."""
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", _WRITE], args=[str(len(pairs) // 2), *pairs])


@dsl.container_component
def echo(text: str, out: dsl.OutputPath(str)):
    return write(out, text)


@dsl.container_component
def flip(heads: bool, result: dsl.OutputPath(bool)):
    return write(result, heads)


@dsl.container_component
def draw(name: str, data: dsl.Output[dsl.Dataset]):
    return write(data.path, name)


@dsl.container_component
def read(data: dsl.Input[dsl.Dataset], out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image="fleetml/ml",
        command=["python", "-c", _WRITE.replace("write_text(text)", "write_text(pathlib.Path(text).read_text())")],
        args=["1", out, data.path],
    )


@dsl.container_component
def fail(text: str, out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", "raise SystemExit(3)"], args=[text, out])


@dsl.container_component
def count(n: int, numbers: dsl.OutputPath(list)):
    """0 to n - 1, as a JSON list."""
    code = "import json, sys\nopen(sys.argv[1], 'w').write(json.dumps(list(range(int(sys.argv[2])))))"
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", code], args=[numbers, n])


@dsl.container_component
def total(values: list, out: dsl.OutputPath(str)):
    return write(out, values)


@dsl.container_component
def join(data: dsl.Input[list[dsl.Dataset]], out: dsl.OutputPath(str)):
    """The contents of all, in order."""
    code = (
        "import json, sys\n"
        "given = json.loads(sys.argv[2])['inputs']['artifacts']['data']['artifacts']\n"
        "open(sys.argv[1], 'w').write('+'.join(open(one['uri']).read() for one in given))"
    )
    return dsl.ContainerSpec(
        image="fleetml/ml", command=["python", "-c", code], args=[out, dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER]
    )


@dsl.container_component
def refuse_zero(number: int, out: dsl.OutputPath(str)):
    code = "import sys\nif sys.argv[2] == '0': sys.exit('zero')\nopen(sys.argv[1], 'w').write(sys.argv[2])"
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", code], args=[out, number])
