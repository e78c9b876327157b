"""What each process of ``test_processes`` does; importable, as spawned processes need it."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from memorysam_training.losses import ohem_cross_entropy
from memorysam_training.muon import Muon
from memorysam_training.prototypes import PrototypeMemory

CLASSES, STEPS = 4, 3


class Net(nn.Module):
    """Features and logits of a pixel from its three numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(3, 5, 1)
        self.logits = nn.Conv2d(5, CLASSES, 1)

    def forward(self, images):
        features = self.features(images)
        return self.logits(features.tanh()), features


def batches():
    """Unequal halves on purpose: classes and unlabelled pixels are spread unevenly."""
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        labels = torch.randint(0, CLASSES, (4, 6, 5), generator=generator)
        labels[:2][labels[:2] == 3] = 255
        labels[2:, : step + 1] = 255
        images = torch.randn(4, 3, 6, 5, generator=generator)
        yield images, labels


def train(model, share: slice, confidence: float):
    memory = PrototypeMemory(CLASSES, features=5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    rows = []
    for step, (images, labels) in enumerate(batches()):
        weights = torch.arange(1.0, CLASSES + 1) if step % 2 else None
        logits, features = model(images[share])
        ohem = ohem_cross_entropy(
            logits, labels[share], confidence, least_share=0.25, class_weights=weights
        )
        spmm = memory(features, labels[share])
        optimizer.zero_grad()
        (ohem + spmm).backward()
        gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
        rows.append((ohem.detach(), spmm.detach(), memory.prototypes.clone(), gradients.clone()))
        optimizer.step()
    return rows


def moved_by_muon(shapes) -> list[torch.Tensor]:
    """After two steps with gradients that every process has; matrices of one row have none."""
    generator = torch.Generator().manual_seed(2)
    matrices = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    muon = Muon(matrices, lr=0.1)
    for _ in range(2):
        for matrix in (m for m in matrices if len(m) > 1):
            matrix.grad = torch.randn(matrix.shape, generator=generator)
        muon.step()
    return [matrix.detach() for matrix in matrices]


def muon_worker(rank: int, port: int, shapes, out: str) -> None:
    join(rank, port)
    torch.save(moved_by_muon(shapes), f"{out}/{rank}.pt")
    leave()


def join(rank: int, port: int) -> None:
    """Makes this process one of two."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)


def leave() -> None:
    """Ends it at once: PyTorch's own threads now and then abort an interpreter that winds up."""
    dist.barrier()  # the first serves the other until then
    dist.destroy_process_group()
    os._exit(0)


def worker(rank: int, port: int, confidence: float, out: str) -> None:
    join(rank, port)
    model = DistributedDataParallel(Net())
    rows = train(model, slice(2 * rank, 2 * rank + 2), confidence)
    torch.save(rows, f"{out}/{rank}.pt")
    leave()
