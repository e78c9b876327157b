"""Evaluation: against the model called directly, with failing sensors, and its report."""

from __future__ import annotations

import json

import miniatures
import pytest
import torch
from torch.nn import functional as F

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, load_checkpoint, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.labels import DELIVER
from memorysam_core.metrics import ConfusionMatrix
from memorysam_training.augment import ValidationBatch
from memorysam_training.commands import evaluate as command
from memorysam_training.data.deliver import Deliver
from memorysam_training.data.samples import DataError
from memorysam_training.evaluate import Options, evaluate

CPU = torch.device("cpu")
SIZE = (64, 64)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return miniatures.deliver(tmp_path_factory.mktemp("data") / "DELIVER", 3, SIZE)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    model = build_model(Architecture(size="nano", memory_mask="confidence"))
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    save_checkpoint(path, model, InputContract(deliver_modalities("log_depth"), DELIVER, SIZE))
    return load_checkpoint(path)


@pytest.fixture(scope="module")
def dataset(tree):
    return Deliver(tree, "test", depth="log_depth")


def directly(checkpoint, dataset, names):
    """One sample and one sequence at a time, through ``model(frames)``."""
    model = checkpoint.build()
    to_batch = ValidationBatch(checkpoint.contract.modalities, SIZE)
    matrix = ConfusionMatrix(25)
    for index in range(len(dataset)):
        frames, labels = to_batch([dataset.read(index, names)])
        with torch.inference_mode():
            logits = model(frames).logits
        full = F.interpolate(logits, SIZE, mode="bilinear", align_corners=False)
        matrix.update(full.argmax(1), labels)
    return matrix.counts


def test_every_subset_equals_the_model_called_with_it(checkpoint, dataset):
    """Frames are encoded once for all cases: that must change nothing but the time."""
    found = evaluate(checkpoint, dataset, Options(tests=("emm",), batch=2), CPU)
    assert found.samples == 3 and len(found.confusion) == 15
    names = checkpoint.contract.names
    for case, matrix in found.confusion.items():
        if case.damaged in ((), (0,), (1, 3), (0, 1, 2)):
            kept = [names[m] for m, _ in case.frames]
            difference = abs(matrix.counts - directly(checkpoint, dataset, kept)).sum()
            assert difference <= 4  # a pixel on the edge between two classes


def test_groups_add_up_to_the_whole(checkpoint, dataset):
    found = evaluate(checkpoint, dataset, Options(), CPU)
    weathers = [m for (kind, _), m in found.groups.items() if kind == "condition"]
    assert len(weathers) == 2
    assert (ConfusionMatrix.total(weathers).counts == found.full.counts).all()
    assert set(found.closed_gates) == set(checkpoint.contract.names)
    assert all(0 <= share <= 1 for share in found.closed_gates.values())


def test_mirrored_views_make_the_prediction_symmetric(checkpoint, tree):
    """With the mirrored view averaged in, a mirrored sample gives the mirrored labels."""
    from memorysam_training.evaluate import _Run

    run = _Run(checkpoint.build(), checkpoint.contract, Options(flip=True), CPU)
    frames = torch.rand(4, 1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, other = run._many_views(frames), run._many_views(frames.flip(-1)).flip(-1)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_chance_is_seeded(checkpoint, dataset):
    runs = [evaluate(checkpoint, dataset, Options(tests=("nm",), seed=s), CPU) for s in (1, 1, 2)]
    noisy = [next(m.counts for c, m in r.confusion.items() if c.test == "nm high") for r in runs]
    assert (noisy[0] == noisy[1]).all() and (noisy[0] != noisy[2]).any()


def test_what_does_not_fit_is_refused(checkpoint, tree):
    with pytest.raises(DataError, match="depth is drawn as hha.*log_depth"):
        evaluate(checkpoint, Deliver(tree, "test", depth="hha"), Options(), CPU)
    options, grey = Options(modalities=("image", "radar")), Deliver(tree, "test", "log_depth")
    with pytest.raises(DataError, match="checkpoint wants image, radar"):
        evaluate(checkpoint, grey, options, CPU)


def test_the_command_writes_a_report(checkpoint, tree, tmp_path, capsys):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    out = tmp_path / "report"
    words = [str(checkpoint.path), str(tree), "--missing", "emm", "--out", str(out)]
    assert command.run(parser.parse_args(words)) == 0
    assert "mIoU" in capsys.readouterr().out
    for name in ("report.md", "report.html", "report.json", "confusion.png", "samples.png"):
        assert (out / name).stat().st_size > 100
    values = json.loads((out / "report.json").read_text())
    assert values["size"] == list(SIZE) and values["samples"] == 3
    assert len(values["cases"]) == 15 and set(values["robustness"]) == {"emm"}
    assert values["cases"][0]["miou"] == values["all"]["miou"]
    scores = [case["miou"] for case in values["cases"]]
    assert values["robustness"]["emm"]["mean"] == pytest.approx(sum(scores) / 15)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "median sample" in page and "condition night" in page and "No set was" not in page
    assert f"{100 * values['all']['miou']:.1f} %" in page
    markdown = (out / "report.md").read_text()
    assert "| image + depth |" in markdown and "condition | night" in markdown
