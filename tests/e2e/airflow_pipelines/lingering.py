"""A step that lasts until it is killed."""

from kfp import dsl
from parts import linger, twice


@dsl.pipeline(name="lingering")
def lingering(folder: str):
    stays = linger(folder=folder)
    twice(n=1).after(stays)
