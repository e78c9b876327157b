"""An evaluation as one HTML file; see :mod:`memorysam_core.report`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from memorysam_core.metrics import ConfusionMatrix
from memorysam_core.report import Group, Moment, ReportData, Run, Tile, write_report
from memorysam_core.report.collector import ALL
from memorysam_core.report.words import percent
from memorysam_training.evaluate import Evaluation
from memorysam_training.pictures import frames_of


def write(
    evaluation: Evaluation, path: Path, checkpoint: str, about: Mapping[str, str], device: str
) -> None:
    """Writes the file; ``about`` says what was measured, on what and how, by a word for it."""
    command = " ".join(["memorysam", *sys.argv[1:]])
    run = Run.here(command, about["data"], checkpoint, device)
    write_report(page(evaluation, run, about), path)


def page(evaluation: Evaluation, run: Run, about: Mapping[str, str]) -> ReportData:
    """What is told of an evaluation."""
    scores = evaluation.full.scores()
    height, width = evaluation.size
    present = int(scores.present.sum())
    return ReportData(
        "Evaluation",
        run,
        evaluation.contract.label_space,
        evaluation.contract.names,
        summary=f"{evaluation.samples} samples, scored at {width} x {height} (width x height).",
        tiles=(
            Tile("mIoU", f"{percent(scores.miou)} %", f"all {len(scores.iou)} classes"),
            Tile("mIoU, present", f"{percent(scores.miou_present)} %", f"{present} classes"),
            Tile("pixels right", f"{percent(scores.accuracy)} %"),
            Tile("mean F1", f"{percent(scores.mean_f1)} %", f"{present} classes"),
        ),
        moments=tuple(_moments(evaluation)),
        groups=tuple(_groups(evaluation)),
        notes=tuple(f"{key}: {value}" for key, value in about.items()),
    )


def _groups(evaluation: Evaluation) -> Iterator[Group]:
    yield Group(ALL, "all", evaluation.samples, evaluation.full)
    for case, matrix in evaluation.confusion.items():
        if case.test != "full":
            name = case.name if case.test == "emm" else f"{case.test}: {case.name}"
            yield Group(name, "sensors", evaluation.samples, matrix)
    for (kind, value), matrix in evaluation.groups.items():
        yield Group(f"{kind} {value}", "condition", None, matrix)


def _moments(evaluation: Evaluation) -> Iterator[Moment]:
    classes = len(evaluation.contract.label_space)
    for name in ("best", "median", "worst"):
        picture = evaluation.pictures[name]
        labels, truth = picture.predicted.numpy(), picture.labels.numpy()
        alone = ConfusionMatrix(classes).update(labels, truth).scores()
        frames = frames_of(picture, evaluation.contract)
        yield Moment(0.0, frames, labels, truth, miou=alone.miou_present, name=f"{name} sample")
