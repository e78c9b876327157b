"""The learning rate of each step: linear warm-up, then a polynomial down to zero."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Factor of the learning rate by step, as in DELIVER's trainer.

    The polynomial ends an epoch after the last, so it never quite gets to zero, unless the epochs
    of the run have more steps than those of the schedule.
    """

    steps_per_epoch: int
    """The released code counts ``samples // batch``, though its loader makes one more of the rest.
    """
    epochs: int
    warmup_epochs: float = 10
    warmup_start: float = 0.1
    power: float = 0.9

    @property
    def warmup_steps(self) -> int:
        """Steps of the linear rise from ``warmup_start`` to 1."""
        return int(self.steps_per_epoch * self.warmup_epochs)

    @property
    def end(self) -> int:
        """The step at which the polynomial is zero."""
        return (self.epochs + 1) * self.steps_per_epoch

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied by at ``step``, 0 first."""
        if step < self.warmup_steps:
            return self.warmup_start + (1 - self.warmup_start) * step / self.warmup_steps
        left = 1 - (step - self.warmup_steps) / max(1, self.end - self.warmup_steps)
        return max(0.0, left) ** self.power
