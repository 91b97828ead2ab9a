"""Kedro: all in one process, one after the other."""

import sys

from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from kedro.runner import SequentialRunner


def echo(text):
    return text


def join(a, b, c, d):
    return a + b + c + d


chain = [node(echo, f"s{number}", f"s{number + 1}", name=f"echo{number}") for number in range(5)]
fan = [node(echo, "s5", name, name=f"echo-{name}") for name in "abcd"]
ten = pipeline([*chain, *fan, node(join, list("abcd"), "out", name="join")])

if __name__ == "__main__":
    SequentialRunner().run(ten, DataCatalog({"s0": MemoryDataset(sys.argv[1])}))
