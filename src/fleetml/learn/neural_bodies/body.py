"""What every body is: a module from a scaled history to what the heads of a forecaster read."""

from torch import Tensor, nn


class Body(nn.Module):
    """series [batch, context] → hidden [batch, `width`]; made of a context and an `Architecture`."""

    width: int

    def forward(self, series: Tensor) -> Tensor:
        raise NotImplementedError
