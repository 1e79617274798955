"""Decide when training ends: when both the training and the validation loss stop falling."""

import math
from dataclasses import dataclass


@dataclass
class Flatness:
    """Losses are flat if, for `patience` epochs, neither has improved on its best value by the share `min_improvement`."""

    min_improvement: float
    patience: int
    best: tuple[float, float] = (math.inf, math.inf)
    flat_epochs: int = 0

    def stop_after(self, training_loss: float, validation_loss: float) -> bool:
        """Record the losses of an epoch. Return whether training should end."""
        losses = (training_loss, validation_loss)
        improved = [loss < best * (1 - self.min_improvement) for loss, best in zip(losses, self.best, strict=True)]
        self.best = (min(losses[0], self.best[0]), min(losses[1], self.best[1]))
        self.flat_epochs = 0 if any(improved) else self.flat_epochs + 1
        return self.reached

    @property
    def reached(self) -> bool:
        """Return whether training should end."""
        return self.flat_epochs >= self.patience
