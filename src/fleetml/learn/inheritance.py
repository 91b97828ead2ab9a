"""Weights that a network takes over from another of its family, as far as their shapes overlap."""

from torch import nn, no_grad


def inherit(child: nn.Module, parent: nn.Module) -> float:
    """Copy into the child's parameters what of the parent's has their name and place; return the share of its numbers so filled.

    A wider child keeps its own beginning where the parent had nothing; one that is not as deep takes the first layers.
    """
    given, copied, count = dict(parent.named_parameters()), 0, 0
    with no_grad():
        for name, value in child.named_parameters():
            count += value.numel()
            old = given.get(name)
            if old is not None and old.dim() == value.dim():
                overlap = tuple(slice(0, min(mine, its)) for mine, its in zip(value.shape, old.shape, strict=True))
                value[overlap] = old[overlap]
                copied += value[overlap].numel()
    return copied / count
