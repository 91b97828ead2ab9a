"""From a ``pipeline.py`` in the KFP DSL to its committed IR."""

from pathlib import Path


def compile_pipeline(source: Path, target: Path | None = None, check: bool = False) -> tuple[Path, bool]:
    """Compile the one pipeline function of `source` to `target` (default: the same name with ``.yaml``).

    Return the target and whether it differs from what stood there. With `check` nothing is written.
    Raises ConfigurationError where kfp is missing, InvalidPipeline naming file:line for the author's mistakes.
    """
    raise NotImplementedError
