"""Lightweight components, as a stranger writes them: their source stands in the IR."""

from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def add(a: int, b: int = 2) -> int:
    return a + b


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def save(value: int, data: dsl.Output[dsl.Dataset]):
    with open(data.path, "w") as file:  # noqa: PTH123 - strangers do
        file.write(str(value))


@dsl.pipeline(name="strangers")
def strangers(a: int = 1) -> int:
    total = add(a=a)
    save(value=total.output)
    return total.output
