"""What an untrained network tells of its error once trained: zero-cost proxies (Abdelfattah et al., 2021), and inherited weights.

The benchmark `nas` judges them. None paid there, so the search has none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fleetml.learn.neural import Network, symlog
from fleetml.learn.training import Examples

# Windows that a proxy looks at.
_BATCH = 64
_TINY = 1e-5


def proxies(network: Network, examples: Examples) -> dict[str, float]:
    """Return the proxies of an untrained network by name; more is said to be better."""
    network.eval()
    return {
        "synflow": synflow(network.body, examples.history.shape[1]),
        "jacobian covariance": jacobian_covariance(network, examples),
        "gradient norm": gradient_norm(network, examples),
    }


def synflow(body: nn.Module, context: int) -> float:
    """Return log sum |weight x gradient| of the body with the magnitudes of its weights, asked about ones (Tanaka et al., 2020)."""
    signs = {name: value.detach().sign() for name, value in body.named_parameters()}
    for value in body.parameters():
        value.data.abs_()
    body.zero_grad()
    body(torch.ones(1, context)).sum().backward()
    total = sum(
        float((value.detach() * value.grad).abs().sum()) for value in body.parameters() if value.grad is not None
    )
    for name, value in body.named_parameters():
        value.data.mul_(signs[name])
    body.zero_grad()
    return float(torch.log(torch.tensor(total + 1e-30)))


def jacobian_covariance(network: Network, examples: Examples) -> float:
    """Return how unlike the gradients of different windows are: -sum(log(v + k) + 1 / (v + k)) over the eigenvalues v of their correlation."""
    series = _series(network, examples).requires_grad_()
    (gradient,) = torch.autograd.grad(network.body(series).sum(), series)
    values = torch.linalg.eigvalsh(torch.nan_to_num(torch.corrcoef(gradient)).double())
    return float(-(torch.log(values.clamp(min=0) + _TINY) + 1 / (values.clamp(min=0) + _TINY)).sum())


def gradient_norm(network: Network, examples: Examples) -> float:
    """Return the norm of the gradient of the loss over a batch."""
    network.zero_grad()
    rows = slice(0, _BATCH)
    loss = (
        examples.errors(network(examples.history[rows], examples.covariates[rows]), rows) / examples.scale[rows]
    ).mean()
    loss.backward()
    norm = torch.stack([value.grad.norm() for value in network.parameters() if value.grad is not None]).norm()
    network.zero_grad()
    return float(norm)


def inherit(child: nn.Module, parent: nn.Module) -> float:
    """Copy into the child's parameters what of the parent's has their name and place; return the share of its numbers so filled.

    A wider child keeps its own beginning where the parent had nothing; one that is not as deep takes the first layers.
    """
    given, copied, count = dict(parent.named_parameters()), 0, 0
    with torch.no_grad():
        for name, value in child.named_parameters():
            count += value.numel()
            old = given.get(name)
            if old is not None and old.dim() == value.dim():
                overlap = tuple(slice(0, min(mine, its)) for mine, its in zip(value.shape, old.shape, strict=True))
                value[overlap] = old[overlap]
                copied += value[overlap].numel()
    return copied / count


def _series(network: Network, examples: Examples) -> Tensor:
    history = examples.history[:_BATCH]
    with torch.no_grad():
        _, level, spread = network.naive(history)
        return symlog((history - level) / spread)
