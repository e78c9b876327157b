"""Which samples, which sensors and which chance each step gets.

Everything random in a run is a function of the seed, the step and the place in the batch, never of
what was drawn before. So a resumed run repeats an uninterrupted one without stored generators, and
the number of processes does not change what a step sees.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Draw:
    """One sample of a batch, before it is read."""

    index: int
    modalities: tuple[str, ...]
    seed: int
    """Of everything that happens to this sample by chance."""


@dataclass(frozen=True)
class Plan:
    """The batches of a run, by step."""

    samples: int
    batch: int
    modalities: tuple[str, ...]
    seed: int
    dropout: float
    """Share of the steps that see a proper subset of the modalities."""
    dropout_weights: Mapping[str, float] = field(default_factory=dict)
    """By modality, how likely it is to be left out there, against 1 of the others."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps that see every sample at least once; the last is filled from the epoch's start."""
        return -(-self.samples // self.batch)

    def step(self, step: int) -> list[Draw]:
        """The joint batch of all processes at ``step``, 0 first.

        A step's sequences are of one length, as they run through the model together; which
        sensors they hold differs from sample to sample.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        length = self._sequence_length(step)
        draws = []
        for i in range(self.batch):
            seed = _mixed(self.seed, step, i)
            kept = self._kept(random.Random(seed), length)
            names = tuple(self.modalities[m] for m in sorted(kept))
            draws.append(Draw(order[(place * self.batch + i) % self.samples], names, seed))
        return draws

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(_mixed(self.seed, epoch, -1))
        return torch.randperm(self.samples, generator=generator).tolist()

    def _kept(self, chance: random.Random, length: int) -> list[int]:
        """Which ``length`` modalities a sample keeps."""
        everything = range(len(self.modalities))
        if not self.dropout_weights or length == len(everything):
            return chance.sample(everything, length)
        # As if the others were drawn in turn, each by its weight (Efraimidis and Spirakis, 2006).
        weights = (self.dropout_weights.get(name, 1.0) for name in self.modalities)
        keys = [chance.random() ** (1 / weight) for weight in weights]
        return sorted(everything, key=keys.__getitem__)[:length]

    def _sequence_length(self, step: int) -> int:
        chance = random.Random(_mixed(self.seed, step, -2))
        everything = len(self.modalities)
        if everything == 1 or chance.random() >= self.dropout:
            return everything
        return chance.randint(1, everything - 1)


class MicroBatches:
    """One process's share of the steps ``start`` to ``stop``: a DataLoader's batch sampler."""

    def __init__(
        self, plan: Plan, size: int, process: int, processes: int, start: int, stop: int
    ) -> None:
        if plan.batch % (size * processes):
            raise ValueError(
                f"optimiser.batch is {plan.batch}, not a multiple of optimiser.batch_per_process "
                f"{size} times {processes} processes"
            )
        self.plan, self.size = plan, size
        self.process, self.processes = process, processes
        self.start, self.stop = start, stop

    @property
    def per_step(self) -> int:
        """Forward passes of this process in one step."""
        return self.plan.batch // (self.size * self.processes)

    def __len__(self) -> int:
        return (self.stop - self.start) * self.per_step

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in range(self.start, self.stop):
            draws = self.plan.step(step)
            for part in range(self.per_step):
                first = (part * self.processes + self.process) * self.size
                yield draws[first : first + self.size]


def step_seed(seed: int, step: int, process: int) -> int:
    """Seed of what the model itself draws in a step (dropout inside the memory attention)."""
    return _mixed(seed, step, -3 - process)


def _mixed(*numbers: int) -> int:
    """A well spread 63-bit seed of some numbers."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ (number & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 % 2**64
        state ^= state >> 31
    return state >> 1
