"""Lightweight KFP components in three pipelines: ten steps, four that wait, a loop. Run as a program: by kfp.local."""

import sys

from kfp import dsl, local


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def echo(text: str) -> str:
    return text


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def join(a: str, b: str, c: str, d: str) -> str:
    return a + b + c + d


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def wait(text: str) -> str:
    import time

    time.sleep(2)
    return text


@dsl.pipeline(name="ten")
def ten(seed: str):
    last = echo(text=seed)
    for _ in range(4):
        last = echo(text=last.output)
    fan = [echo(text=f"{last.output}{number}") for number in range(4)]
    join(**{name: task.output for name, task in zip("abcd", fan, strict=True)})


@dsl.pipeline(name="waiting")
def waiting(seed: str):
    for number in range(4):
        wait(text=f"{seed}{number}")


@dsl.pipeline(name="loop")
def loop(seed: str):
    with dsl.ParallelFor(list(range(100))) as item:
        echo(text=f"{seed}{item}")


if __name__ == "__main__":
    pipeline, seed, place, caching = sys.argv[1:]
    runner = local.SubprocessRunner(use_venv=False)
    local.init(runner, pipeline_root=place, enable_caching=bool(caching))
    {"ten": ten, "waiting": waiting, "loop": loop}[pipeline](seed=seed)
