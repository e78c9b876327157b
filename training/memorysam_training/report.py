"""An evaluation as Markdown, JSON and pictures."""

from __future__ import annotations

import json
from pathlib import Path

from memorysam_core.metrics import ConfusionMatrix
from memorysam_training import pictures
from memorysam_training.evaluate import Evaluation, by_class
from memorysam_training.robustness import subsets_in_order, summary


def write(evaluation: Evaluation, folder: Path, about: dict[str, str]) -> None:
    """``report.md``, ``report.json``, ``confusion.png`` and ``samples.png`` into ``folder``.

    Args:
        about: what was measured, on what and how, by a word for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(markdown(evaluation, about), encoding="utf-8")
    values = to_dict(evaluation, about)
    (folder / "report.json").write_text(json.dumps(values, indent=1), encoding="utf-8")
    space = evaluation.contract.label_space
    pictures.confusion(folder / "confusion.png", evaluation.full.counts, space)
    shown = [evaluation.pictures[name] for name in ("best", "median", "worst")]
    pictures.sheet(folder / "samples.png", shown, evaluation.contract)


def to_dict(evaluation: Evaluation, about: dict[str, str]) -> dict:
    """Everything as plain values."""
    return {
        "about": about,
        "size": list(evaluation.size),
        "samples": evaluation.samples,
        "modalities": list(evaluation.contract.names),
        "all": evaluation.full.scores().to_dict(),
        "classes": {
            name: {"iou": iou, "f1": f1, "recall": recall, "present": present}
            for name, iou, f1, recall, present in by_class(evaluation)
        },
        "groups": {
            f"{kind}={value}": matrix.scores().to_dict()
            for (kind, value), matrix in evaluation.groups.items()
        },
        "cases": [
            {"test": case.test, "name": case.name, **matrix.scores().to_dict()}
            for case, matrix in evaluation.confusion.items()
        ],
        "robustness": robustness(evaluation),
        "closed_gates": evaluation.closed_gates,
        "confusion": evaluation.full.counts.tolist(),
    }


def robustness(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Summary figures of EMM, RMM and NM, of the mIoU over all classes."""
    scores = {case: matrix.scores().miou for case, matrix in evaluation.confusion.items()}
    return summary(scores, len(evaluation.contract.modalities))


def markdown(evaluation: Evaluation, about: dict[str, str]) -> str:
    """The report in words and tables; figures in percent."""
    scores = evaluation.full.scores()
    height, width = evaluation.size
    parts = [
        "# Evaluation",
        "\n".join(f"- {key}: {value}" for key, value in about.items()),
        f"{evaluation.samples} samples, scored at {width} x {height} (width x height), with "
        f"{', '.join(evaluation.contract.names)}. **mIoU {_percent(scores.miou)}** over all "
        f"{len(scores.iou)} classes (absent ones count as 0), "
        f"**{_percent(scores.miou_present)}** over the {int(scores.present.sum())} present; "
        f"pixel accuracy {_percent(scores.accuracy)}, mean accuracy "
        f"{_percent(scores.mean_accuracy)}, mean F1 {_percent(scores.mean_f1)}.",
        "## By class",
        _table(
            ["class", "IoU", "F1", "accuracy"],
            [
                [name, *map(_percent, (iou, f1, recall))] if there else [name, "absent", "", ""]
                for name, iou, f1, recall, there in by_class(evaluation)
            ],
        ),
    ]
    if evaluation.groups:
        rows = [
            [kind, value, *_summary(matrix)] for (kind, value), matrix in evaluation.groups.items()
        ]
        parts += ["## By condition", _table(["kind", "value", *_SUMMARY], rows)]
    parts += _robustness_parts(evaluation)
    gates = [[name, _percent(share)] for name, share in evaluation.closed_gates.items()]
    parts += [
        "## Closed gates",
        "Share of frames whose object score is not positive, whether or not the gate is in use.",
        _table(["frame", "closed"], gates),
        "![Confusion matrix](confusion.png)",
        "Best, median and worst sample: frames, truth, prediction.",
        "![Samples](samples.png)",
    ]
    return "\n\n".join(parts) + "\n"


_SUMMARY = ["mIoU", "mIoU present", "accuracy", "F1"]


def _robustness_parts(evaluation: Evaluation) -> list[str]:
    parts = []
    full = evaluation.full.scores().miou
    for test, figures in robustness(evaluation).items():
        title = {
            "emm": "Entire modalities missing (EMM)",
            "rmm": "Random missing (RMM",
            "nm": "Noise",
        }
        kind, _, level = test.partition(" ")
        heading = title[kind] + {"emm": "", "rmm": f", r = {level})", "nm": f" (NM), {level}"}[kind]
        cases = [(c, m) for c, m in evaluation.confusion.items() if c.test == test]
        rows = [
            [case.name, *_summary(matrix), f"{100 * (matrix.scores().miou - full):+.2f}"]
            for case, matrix in cases
        ]
        parts += [
            f"## {heading}",
            ", ".join(f"{name} {_percent(value)}" for name, value in figures.items()),
            *([_as_in_papers(evaluation, figures["mean"])] if test == "emm" else []),
            _table(["sensors", *_SUMMARY, "against all"], rows),
        ]
    return parts


def _as_in_papers(evaluation: Evaluation, mean: float) -> str:
    """The mIoU of every subset in one row."""
    count = len(evaluation.contract.names)
    by_kept = {
        tuple(m for m in range(count) if m not in case.damaged): matrix
        for case, matrix in evaluation.confusion.items()
        if case.test in ("full", "emm")
    }
    subsets = subsets_in_order(evaluation.contract.names)
    row = [_percent(by_kept[kept].scores().miou) for _, kept in subsets]
    return _table([*(letters for letters, _ in subsets), "mean"], [[*row, _percent(mean)]])


def _summary(matrix: ConfusionMatrix) -> list[str]:
    scores = matrix.scores()
    figures = (scores.miou, scores.miou_present, scores.accuracy, scores.mean_f1)
    return [_percent(f) for f in figures]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
