"""Flyte's local mode: all in one process."""

import asyncio
import sys

import flyte

env = flyte.TaskEnvironment(name="ten")


@env.task
async def echo(text: str) -> str:
    return text


@env.task
async def join(a: str, b: str, c: str, d: str) -> str:
    return a + b + c + d


@env.task
async def ten(seed: str) -> str:
    for _ in range(5):
        seed = await echo(seed)
    return await join(*await asyncio.gather(*(echo(seed + name) for name in "abcd")))


if __name__ == "__main__":
    flyte.init()
    flyte.with_runcontext(mode="local").run(ten, seed=sys.argv[1])
