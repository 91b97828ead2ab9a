"""If, Elif and Else on parameters and on outputs, with texts that need care, and OneOf behind them."""

from kfp import dsl

from tests.pipelines.parts import draw, echo, flip, read


@dsl.pipeline(name="branches")
def branches(size: int = 7, word: str = "it's", heads: bool = True, floor: float = 0.5) -> str:
    coin = flip(heads=heads)
    with dsl.If(size > 10, name="big"):
        big = echo(text="big")
        big_data = draw(name="big")
    with dsl.Elif(word == "it's", name="quote"):
        quote = echo(text="quote")
        quote_data = draw(name="quote")
    with dsl.Else(name="other"):
        other = echo(text=dsl.PIPELINE_JOB_NAME_PLACEHOLDER)
        other_data = draw(name="other")
    chosen = dsl.OneOf(big.outputs["out"], quote.outputs["out"], other.outputs["out"])
    after = echo(text=chosen)
    read(data=dsl.OneOf(big_data.outputs["data"], quote_data.outputs["data"], other_data.outputs["data"]))
    with dsl.If(coin.outputs["result"] == True, name="heads"):  # noqa: E712 - kfp builds the condition from ==
        inner = echo(text="heads")
        with dsl.If(floor >= 0.25, name="high"):
            echo(text=inner.outputs["out"])
    with dsl.If(coin.outputs["result"] == False, name="tails"):  # noqa: E712
        echo(text="tails")
    return after.outputs["out"]
