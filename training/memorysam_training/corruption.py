"""What goes wrong with a sensor that still delivers: noise, a shift, a part gone black."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from memorysam_core.contract import Modality

SHIFT = 0.03
"""Largest shift, as a share of the width."""


def corrupt(frame: Tensor, modality: Modality, chance: random.Random) -> Tensor:
    """A frame ``(3, H, W)``, 0 to 1, with one fault drawn by chance."""
    generator = torch.Generator(frame.device).manual_seed(chance.getrandbits(62))
    fault = chance.choice(("noise", "shift", "blackout"))
    if fault == "noise":
        level = chance.uniform(0.02, 0.25)
        if modality.representation.reading == "events":
            return salt_and_pepper(frame, level / 2, generator)
        return salt_and_pepper(gaussian(frame, level, generator).clamp(0, 1), level / 4, generator)
    height, width = frame.shape[1:]
    if fault == "shift":
        most = max(1, round(SHIFT * width))
        shift = chance.randint(-most, most), chance.choice((-1, 1)) * chance.randint(1, most)
        return frame.roll(shift, dims=(1, 2))
    tall, wide = (max(1, round(side * chance.uniform(0.2, 1))) for side in (height, width))
    top, left = chance.randint(0, height - tall), chance.randint(0, width - wide)
    frame = frame.clone()
    frame[:, top : top + tall, left : left + wide] = nothing(modality)
    return frame


def nothing(modality: Modality) -> float:
    """What pixels without a reading hold, 0 to 1: black, and no angle where 0 is the angle's sine
    and cosine of -1.
    """
    return 0.5 if modality.name == "aolp" else 0.0


def gaussian(frame: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Normal noise on every number."""
    noise = torch.randn(frame.shape, generator=generator, device=frame.device, dtype=frame.dtype)
    return frame + noise * deviation


def salt_and_pepper(frame: Tensor, density: float, generator: torch.Generator) -> Tensor:
    """A share ``density`` of the numbers set to the frame's largest or, half of them, least."""
    chance = torch.rand(frame.shape, generator=generator, device=frame.device)
    frame = torch.where(chance < density / 2, frame.amax(), frame)
    return torch.where(chance > 1 - density / 2, frame.amin(), frame)


def zeroed(frame: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of the numbers set to zero."""
    chance = torch.rand(frame.shape, generator=generator, device=frame.device)
    return frame.masked_fill(chance < share, 0)
