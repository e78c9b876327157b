"""Events: accumulated over a window that ends at a camera's stamp, and the frames drawn of them."""

from __future__ import annotations

import torch
from torch import Tensor

from memorysam_core.frames.arrays import DeviceLike, tensor_of
from memorysam_core.frames.readings import EventsReading
from memorysam_core.frames.resize import nearest
from memorysam_core.representations import EventPolarity


def draw_polarity(
    reading: EventsReading, how: EventPolarity, size: tuple[int, int], stamp_ns: int,
    device: DeviceLike = "cpu",
) -> Tensor:  # fmt: skip
    """Red and blue on black, uint8 ``(H, W, 3)``: the last event of each pixel in the window.

    The window is ``stamp - window_s < t <= stamp``.
    """
    t = tensor_of(reading.t_ns, device, torch.int64)
    kept = (t <= stamp_ns) & (t > stamp_ns - round(how.window_s * 1e9))
    x = tensor_of(reading.x, device, torch.int64)[kept]
    y = tensor_of(reading.y, device, torch.int64)[kept]
    p = tensor_of(reading.p, device, torch.int64)[kept] > 0
    height, width = min(size[0], reading.height), min(size[1], reading.width)
    pixel = (y * height // reading.height) * width + x * width // reading.width
    order = torch.argsort(t[kept], stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    last = torch.full((height * width,), -1, dtype=torch.int64, device=device)
    last.scatter_reduce_(0, pixel, rank * 2 + p.long(), "amax")
    frame = torch.zeros((height * width, 3), dtype=torch.uint8, device=device)
    channel = 0 if how.positive == "red" else 2
    frame[(last >= 0) & (last % 2 == 1), channel] = 255
    frame[(last >= 0) & (last % 2 == 0), 2 - channel] = 255
    return nearest(frame.view(height, width, 3), size).contiguous()
