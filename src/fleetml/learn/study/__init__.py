"""The study engine: every search of ours is an Optuna study behind `loop.run`. Optuna loads when a study begins."""
