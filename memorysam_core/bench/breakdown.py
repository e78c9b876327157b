"""What the time of a set is made of, stage by stage, for any engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from memorysam_core.bench.timing import timed
from memorysam_core.engines.graphs import Graph
from memorysam_core.engines.streams import for_sets
from memorysam_core.model import Features
from memorysam_core.segmenter import Segmenter

REST = "copies, comparing frames, and gaps"


def breakdown(
    segmenter: Segmenter, frames: Mapping[str, np.ndarray], set_ms: float, device: str, repeats: int
) -> dict[str, float]:
    """Shares of the time of a set, ``set_ms``, by stage.

    Compiled code knows no stages within a sequence. What a sequence of one takes, which has no
    memory, is what each frame's decoder takes; where there is none, the two are told together.
    """
    engine, count = segmenter.engine, len(frames)
    pixels = torch.from_numpy(np.stack(list(frames.values()))).to(segmenter.device)
    which = torch.arange(count, device=segmenter.device)

    def took_ms(work: Callable[[], object]) -> float:
        return timed(work, device, repeats).p50_ms

    with torch.inference_mode(), for_sets(segmenter.device):
        encoded = engine.encode(pixels, which)
        features = Features(*(level.clone() for level in encoded.levels))
        logits = engine.run_sequence(features)[0].clone()
        spent = {"encoder": took_ms(lambda: engine.encode(pixels, which))}
        sequence = took_ms(lambda: engine.run_sequence(features))
        if engine.has(Graph("sequence", 1)):
            first = Features(*(level[:1] for level in features.levels))
            decoder = min(sequence, count * took_ms(lambda: engine.run_sequence(first)))
            spent |= {"decoder": decoder, "memory": sequence - decoder}
        else:
            spent["decoder and memory"] = sequence
        spent["labels"] = took_ms(lambda: segmenter.reduce(logits, segmenter.size))
    shares = {stage: ms / set_ms for stage, ms in spent.items()}
    return shares | {REST: max(0.0, 1 - sum(shares.values()))}
