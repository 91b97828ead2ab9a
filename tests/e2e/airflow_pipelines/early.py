"""The last step cannot run from early on, while steps beside it go on."""

from kfp import dsl
from parts import refuse, twice


@dsl.pipeline(name="early")
def early():
    bad = refuse(n=1)
    first = twice(n=1).set_caching_options(False)
    second = twice(n=first.outputs["result"]).set_caching_options(False)
    third = twice(n=second.outputs["result"]).set_caching_options(False)
    twice(n=third.outputs["result"]).after(bad)
