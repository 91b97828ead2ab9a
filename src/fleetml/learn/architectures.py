"""What an architecture search chooses. Light: imports no learning library."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """What the search chooses: the family of the body (mlp, tcn or gru), its width, depth and dropout."""

    family: str = "mlp"
    width: int = 64
    depth: int = 2
    dropout: float = 0.0
