"""How good labels are: one int64 confusion matrix, and the figures that are read from it.

The mean IoU is given both ways that papers use: over all classes of the label space, where a class
that occurs neither in truth nor in prediction counts as 0 (the published way for DELIVER and
MCubeS), and over the classes that occur in the truth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from memorysam_core.labels import IGNORE


class ConfusionMatrix:
    """Counts of pixels by true class (row) and predicted class (column), int64."""

    def __init__(
        self,
        num_classes: int,
        ignore: int = IGNORE,
        counts: np.ndarray | torch.Tensor | None = None,
    ) -> None:
        if num_classes < 1:
            raise ValueError(f"a confusion matrix needs at least one class, got {num_classes}")
        self.num_classes = num_classes
        self.ignore = ignore
        shape = (num_classes, num_classes)
        self._counts = torch.zeros(shape, dtype=torch.int64)
        if counts is not None:
            given = torch.as_tensor(counts)
            if given.shape != shape or given.is_floating_point():
                raise ValueError(
                    f"counts are {given.dtype} {tuple(given.shape)}; give whole numbers {shape}"
                )
            self._counts = given.to(torch.int64).clone()

    def update(
        self, predicted: np.ndarray | torch.Tensor, truth: np.ndarray | torch.Tensor
    ) -> ConfusionMatrix:
        """Counts label images of one shape; pixels of truth ``ignore`` are left out.

        Raises ValueError for shapes that differ and for ids outside ``0 .. num_classes - 1``.
        """
        predicted, truth = _as_integers(predicted), _as_integers(truth)
        if predicted.shape != truth.shape:
            raise ValueError(
                f"predicted labels are {tuple(predicted.shape)}, true ones {tuple(truth.shape)}; "
                "give two label images of one size"
            )
        known = truth != self.ignore
        predicted, truth = predicted[known].long(), truth[known].long()
        for name, ids in (("predicted", predicted), ("true", truth)):
            if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.num_classes:
                raise ValueError(
                    f"{name} labels reach from {int(ids.min())} to {int(ids.max())}; accepted are "
                    f"0 to {self.num_classes - 1}, and {self.ignore} in the truth for unlabelled"
                )
        pairs = truth * self.num_classes + predicted
        counts = torch.bincount(pairs, minlength=self.num_classes**2).cpu()
        self._counts += counts.view(self.num_classes, self.num_classes)
        return self

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if (self.num_classes, self.ignore) != (other.num_classes, other.ignore):
            raise ValueError(
                f"cannot add a confusion matrix of {other.num_classes} classes (ignore "
                f"{other.ignore}) to one of {self.num_classes} (ignore {self.ignore})"
            )
        return ConfusionMatrix(self.num_classes, self.ignore, self._counts + other._counts)

    @classmethod
    def total(cls, matrices: Iterable[ConfusionMatrix]) -> ConfusionMatrix:
        """The sum of one or more matrices. Raises ValueError for none."""
        matrices = list(matrices)
        if not matrices:
            raise ValueError("no confusion matrices to sum; give at least one")
        sum_ = cls(matrices[0].num_classes, matrices[0].ignore)
        for matrix in matrices:
            sum_ = sum_ + matrix
        return sum_

    @property
    def counts(self) -> np.ndarray:
        """Pixels by true class (row) and predicted class (column), int64 ``(C, C)``, a copy."""
        return self._counts.numpy().copy()

    def scores(self) -> Scores:
        """The figures of this matrix."""
        return Scores.of(self.counts)


@dataclass(frozen=True)
class Scores:
    """Figures of one confusion matrix, as fractions of 1. Undefined figures of a class are 0."""

    iou: np.ndarray
    """Intersection over union of each class, float64 ``(C,)``."""
    f1: np.ndarray
    """Harmonic mean of precision and recall of each class, float64 ``(C,)``."""
    recall: np.ndarray
    """Share of a class's true pixels that were found, float64 ``(C,)``."""
    present: np.ndarray
    """Whether the class occurs in the truth, bool ``(C,)``."""
    accuracy: float
    """Share of all labelled pixels that are right."""
    pixels: int
    """Labelled pixels."""

    @classmethod
    def of(cls, counts: np.ndarray) -> Scores:
        """From counts int64 ``(C, C)``, truth in rows."""
        hit = np.diag(counts).astype(np.float64)
        true, predicted = counts.sum(1), counts.sum(0)
        return cls(
            iou=_ratio(hit, true + predicted - hit),
            f1=_ratio(2 * hit, true + predicted),
            recall=_ratio(hit, true),
            present=true > 0,
            accuracy=float(hit.sum() / max(1, counts.sum())),
            pixels=int(counts.sum()),
        )

    @property
    def miou(self) -> float:
        """Mean IoU over all classes, absent ones as 0 (the published way)."""
        return float(self.iou.mean())

    @property
    def miou_present(self) -> float:
        """Mean IoU over the classes that occur in the truth; 0 where there are none."""
        return self._mean_present(self.iou)

    @property
    def mean_f1(self) -> float:
        """Mean F1 over the classes that occur in the truth."""
        return self._mean_present(self.f1)

    @property
    def mean_accuracy(self) -> float:
        """Mean recall over the classes that occur in the truth."""
        return self._mean_present(self.recall)

    def _mean_present(self, values: np.ndarray) -> float:
        return float(values[self.present].mean()) if self.present.any() else 0.0

    def to_dict(self) -> dict:
        """The summary figures as plain numbers."""
        return {
            "miou": self.miou,
            "miou_present": self.miou_present,
            "accuracy": self.accuracy,
            "mean_accuracy": self.mean_accuracy,
            "mean_f1": self.mean_f1,
            "classes_present": int(self.present.sum()),
            "pixels": self.pixels,
        }


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _as_integers(labels: np.ndarray | torch.Tensor) -> torch.Tensor:
    if isinstance(labels, np.ndarray) and labels.dtype.kind == "u" and labels.itemsize > 1:
        labels = labels.astype(np.int64)  # torch can do little with wide unsigned types
    tensor = torch.as_tensor(labels)
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise ValueError(f"labels are {tensor.dtype}; give class ids of an integer type")
    return tensor
