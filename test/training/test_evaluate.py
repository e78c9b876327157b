"""Evaluation: against the model called directly, with failing sensors, and its report."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import weakref

import miniatures
import pytest
import torch
from torch.nn import functional as F

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, load_checkpoint, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.labels import DELIVER
from memorysam_core.metrics import ConfusionMatrix
from memorysam_core.representations import EventTimeSurface, LidarRange
from memorysam_training import evaluate as evaluation
from memorysam_training.augment import ValidationBatch
from memorysam_training.commands import evaluate as command
from memorysam_training.data.deliver import Deliver
from memorysam_training.data.loading import open_data
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


def directly(checkpoint, dataset, names, views=((1, False),)):
    """One sample, one sequence and one view at a time, through ``model(frames)``."""
    model = checkpoint.build()
    to_batch = ValidationBatch(checkpoint.contract.modalities, SIZE)
    matrix = ConfusionMatrix(25)
    for index in range(len(dataset)):
        frames, labels = to_batch([dataset.read(index, names)])
        total = torch.zeros(1, 25, *SIZE)
        for scale, mirrored in views:
            size = tuple(side * scale for side in SIZE)
            seen = [
                to_batch.resampler.frame(frame[0], size, checkpoint.contract.modality(name))
                for name, frame in zip(names, frames, strict=True)
            ]
            seen = torch.stack(seen)[:, None]
            with torch.inference_mode():
                logits = model(seen.flip(-1) if mirrored else seen).logits
            full = F.interpolate(logits, SIZE, mode="bilinear", align_corners=False).softmax(1)
            total += full.flip(-1) if mirrored else full
        matrix.update(total.argmax(1), labels)
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


def test_every_case_is_seen_in_all_views(checkpoint, dataset):
    """What a missing sensor costs would else be mixed up with what the views give."""
    options = Options(tests=("emm",), flip=True, scales=(1, 2), batch=2)
    views = [(scale, mirrored) for scale in (1, 2) for mirrored in (False, True)]
    found = evaluate(checkpoint, dataset, options, CPU)
    plain = evaluate(checkpoint, dataset, Options(tests=("emm",)), CPU)
    names = checkpoint.contract.names
    for case, matrix in found.confusion.items():
        if case.damaged in ((), (1, 3), (0, 1, 2)):
            kept = [names[m] for m, _ in case.frames]
            expected = directly(checkpoint, dataset, kept, views)
            assert abs(matrix.counts - expected).sum() <= 8
            assert abs(matrix.counts - plain.confusion[case].counts).sum() > 50
    assert found.closed_gates == plain.closed_gates  # those of the first view


def test_faults_are_the_same_for_all_cases_of_a_test(checkpoint, dataset, monkeypatch):
    """A frame's random pixels are drawn once, so that subsets can be compared."""
    drawn = []
    real = evaluation.damaged

    def noting(frame, version, modality, generator):
        drawn.append((version, modality.name))
        return real(frame, version, modality, generator)

    monkeypatch.setattr(evaluation, "damaged", noting)
    evaluate(checkpoint, dataset, Options(tests=("rmm", "nm"), batch=3), CPU)
    pictures = 3 * [("clean", name) for name in checkpoint.contract.names]
    assert sorted(drawn) == sorted([*set(drawn), *pictures])
    assert len(set(drawn)) == 4 * (1 + 3 + 3)


@pytest.mark.parametrize(("samples", "limit"), [(19, 10), (3, 2), (5, 5), (4, 9), (2005, 100)])
def test_a_limit_is_kept_and_spread(samples, limit):
    indices = evaluation._spread(samples, limit)
    assert len(indices) == len(set(indices)) == min(samples, limit)
    gaps = {b - a for a, b in itertools.pairwise(indices)}
    assert max(gaps) - min(gaps) <= 1 and samples - indices[-1] <= max(gaps) + 1


def test_a_limit_counts_samples(checkpoint, dataset):
    assert evaluate(checkpoint, dataset, Options(limit=2), CPU).samples == 2


def test_samples_are_forgotten_once_counted(checkpoint, tmp_path):
    """The three that are drawn are read again: all pictures of a split would not fit in memory."""
    alive, most = [], []

    class Watched(Deliver):
        def read(self, index, modalities):
            sample = super().read(index, modalities)
            alive.append(weakref.ref(sample))
            most.append(sum(reference() is not None for reference in alive))
            return sample

    tree = miniatures.deliver(tmp_path / "tree", 5, SIZE)
    found = evaluate(checkpoint, Watched(tree, "test", "log_depth"), Options(batch=1), CPU)
    assert len(most) == 5 + 3 and max(most[:5]) <= 2
    scores = {
        name: ConfusionMatrix(25).update(p.predicted, p.labels).scores().miou_present
        for name, p in found.pictures.items()
    }
    assert scores["worst"] <= scores["median"] <= scores["best"]
    single = [
        evaluate(checkpoint, dataset, Options(), CPU).full.scores().miou_present
        for dataset in (_One(Deliver(tree, "test", "log_depth"), i) for i in range(5))
    ]
    assert scores["best"] == pytest.approx(max(single), abs=1e-3)
    assert scores["worst"] == pytest.approx(min(single), abs=1e-3)


class _One:
    """A single sample of a data set."""

    def __init__(self, dataset, index):
        self.dataset, self.index = dataset, index
        self.modalities, self.label_space = dataset.modalities, dataset.label_space

    def __len__(self):
        return 1

    def read(self, index, modalities):
        return self.dataset.read(self.index, modalities)

    def groups(self, index):
        return {}


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
    head = "| R | D | E | L | RD | RE | RL | DE | DL | EL | RDE | RDL | REL | DEL | RDEL | mean |"
    row = markdown[markdown.index(head) :].splitlines()[2].split(" | ")
    by_name = {case["name"]: f"{100 * case['miou']:.2f}" for case in values["cases"]}
    assert row[0] == "| " + by_name["image"] and row[8] == by_name["depth + lidar"]
    assert row[14] == f"{100 * values['all']['miou']:.2f}"
    assert row[15] == f"{100 * values['robustness']['emm']['mean']:.2f} |"
    assert "| image + depth |" in markdown and "condition | night" in markdown


def test_pictures_are_taken_for_what_the_checkpoint_wants(checkpoint, tree, tmp_path):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args([str(checkpoint.path), str(tree)])
    *others, event, lidar = checkpoint.contract.modalities
    dense = dataclasses.replace(lidar, representation=LidarRange(densify_px=1))
    recent = dataclasses.replace(event, representation=EventTimeSurface())
    contract = checkpoint.contract.replace(modalities=(*others, recent, dense))
    found = open_data(command._data(args, contract), "test").modalities
    assert [m.representation for m in found[-2:]] == [EventTimeSurface(), LidarRange(densify_px=1)]
    without = shutil.copytree(tree, tmp_path / "no lidar")
    shutil.rmtree(without / "lidar")
    args = parser.parse_args([str(checkpoint.path), str(without)])
    assert [m.name for m in open_data(command._data(args, contract), "test").modalities] == [
        m.name for m in (*others, event)
    ]
