"""Augmentation: one geometry for all, the right sampling for each."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch

from memorysam_core.contract import IMAGENET_MEAN, IMAGENET_STD, deliver_modalities
from memorysam_training.augment import (
    TrainingBatch,
    ValidationBatch,
    flip,
    normalised,
    validation_size,
)
from memorysam_training.corruption import corrupt
from memorysam_training.data.mcubes import mcubes_modalities
from memorysam_training.data.samples import Sample
from memorysam_training.plan import Draw
from memorysam_training.recipe import Augment

MODALITIES = deliver_modalities("log_depth")
NAMES = tuple(m.name for m in MODALITIES)
STILL = Augment(jitter=0, blur=0, flip=0, scale=(1, 1))


def sample(height=64, width=96):
    """Every frame's level is the label, sparse LiDAR and events included."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(1, 20, (height // 8, width // 8), generator=generator, dtype=torch.uint8)
    labels = labels.repeat_interleave(8, 0).repeat_interleave(8, 1)
    frames = {name: (labels * 10).expand(3, -1, -1).contiguous() for name in NAMES}
    return Sample(frames, labels, "made up")


def batch(augment, size=(64, 96), seeds=range(8), one=None, corruption=0.0):
    one = one or sample()
    to_batch = TrainingBatch(augment, corruption, MODALITIES, size)
    return to_batch([one] * len(seeds), [Draw(0, NAMES, seed) for seed in seeds])


def test_without_augmentation_only_the_normalisation_is_left():
    one = sample()
    frames, labels = batch(STILL, seeds=[3])
    assert frames.shape == (4, 1, 3, 64, 96) and labels.dtype == torch.int64
    assert torch.equal(labels[0], one.labels.long())
    torch.testing.assert_close(frames[1, 0], one.frames["depth"] / 255)
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    back = frames[0, 0] * std[:, None, None] + mean[:, None, None]
    torch.testing.assert_close(back, one.frames["image"] / 255)


def test_geometry_is_shared_by_all_modalities_and_the_labels():
    """Levels follow the labels before, so they have to afterwards, whatever the crop and flip."""
    augment = Augment(jitter=0, blur=0, flip=0.5, scale=(0.5, 2.0))
    frames, labels = batch(augment, seeds=range(24))
    for m in (1, 2, 3):
        levels = (frames[m, :, 0] * 25.5).round().long()
        known = labels != 255
        assert torch.equal(levels[known], labels[known])
        assert (levels[~known] == 0).all()
    # Colour is interpolated, so that only what is not at an edge is as it was.
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    for image, ids in zip(frames[0] * std + mean, labels, strict=True):
        known = ids != 255
        same = (image[0] * 25.5).round().long() == ids
        assert same[known].float().mean() > 0.5
    assert len({tuple(x.flatten().tolist()) for x in labels}) > 20  # they do differ


def test_sparse_frames_are_never_smeared():
    one = sample()
    lidar = torch.zeros(3, 64, 96, dtype=torch.uint8)
    lidar[:, ::5, ::5] = 77
    one.frames["lidar"] = lidar
    frames, _ = batch(Augment(jitter=0, blur=0, scale=(0.5, 2.0)), seeds=range(10), one=one)
    levels = {round(v, 4) for v in (frames[3] * 255).unique().tolist()}
    assert levels == {0.0, 77.0}


def test_the_published_way_interpolates_everything():
    one = sample()
    one.frames["lidar"] = torch.zeros(3, 64, 96, dtype=torch.uint8)
    one.frames["lidar"][:, ::5, ::5] = 77
    published = Augment(jitter=0, blur=0, scale=(0.5, 0.6), resampling="bilinear")
    frames, _ = batch(published, seeds=[0], one=one)
    assert len((frames[3] * 255).round().unique()) > 2


def test_zoomed_out_samples_are_padded_with_zero_and_ignored_labels():
    frames, labels = batch(Augment(jitter=0, blur=0, flip=0, scale=(0.5, 0.5)), seeds=[0])
    assert (labels[0, 32:] == 255).all() and (labels[0, :, 48:] == 255).all()
    assert (labels[0, :32, :48] != 255).all()
    assert (frames[1, 0, :, 32:] == 0).all()


def test_colour_changes_touch_the_image_only():
    strong = Augment(jitter=1, blur=1, flip=0, scale=(1, 1), jitter_range=(0.5, 0.6))
    changed, _ = batch(strong, seeds=[1])
    still, _ = batch(STILL, seeds=[1])
    assert not torch.allclose(changed[0], still[0])
    assert torch.equal(changed[1:], still[1:])


def test_the_same_draw_gives_the_same_batch():
    first, _ = batch(Augment(), corruption=0.5)
    again, _ = batch(Augment(), corruption=0.5)
    other, _ = batch(Augment(), corruption=0.5, seeds=range(8, 16))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_flipping_polarisation_flips_the_sign_of_its_angle():
    aolp = mcubes_modalities()[1]
    angle = torch.tensor([[0.3, -1.2]])
    frame = torch.stack([angle.sin(), angle.cos(), angle.sin()]) / 2 + 0.5
    mirrored = flip(frame, aolp) * 2 - 1
    expected = -angle.flip(-1)
    torch.testing.assert_close(mirrored[0], expected.sin())
    torch.testing.assert_close(mirrored[1], expected.cos())
    torch.testing.assert_close(normalised(frame, aolp)[0], angle.sin())


def test_what_is_padded_or_black_holds_no_angle():
    """Sine and cosine of -1 are none, and would be seen in every third sample."""
    modalities = mcubes_modalities()
    frames = {m.name: torch.full((3, 64, 64), 255, dtype=torch.uint8) for m in modalities}
    one = Sample(frames, torch.zeros(64, 64, dtype=torch.uint8), "made up")
    small = dataclasses.replace(STILL, scale=(0.5, 0.5))
    to_batch = TrainingBatch(small, 0.0, modalities, (64, 64))
    seen, labels = to_batch([one], [Draw(0, tuple(frames), 0)])
    padded = labels[0] == 255
    assert padded.sum() == 3 * 32 * 32
    black = -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(seen[0, 0][:, padded], black[:, None].expand(-1, 3 * 32 * 32))
    assert not seen[1:, 0][:, :, padded].any()
    hidden = corrupt(torch.ones(3, 64, 64), modalities[1], Always("blackout"))
    assert set(hidden.unique().tolist()) <= {0.5, 1.0} and (hidden == 0.5).any()


class Always(random.Random):
    """Draws one fault whatever there is."""

    def __init__(self, fault: str) -> None:
        super().__init__(0)
        self.fault = fault

    def choice(self, options):
        return self.fault


@pytest.mark.parametrize(
    ("height", "width", "short", "expected"),
    [
        (1042, 1042, 1024, (1024, 1024)),
        (1024, 1032, 1024, (1024, 1056)),
        (256, 448, 256, (256, 448)),
        (384, 640, 256, (256, 448)),
        (64, 96, 50, (64, 96)),
    ],
)
def test_validation_size(height, width, short, expected):
    assert validation_size(height, width, short) == expected


def test_validation_keeps_everything_at_its_size():
    one = sample()
    frames, labels = ValidationBatch(MODALITIES, (64, 96))([one])
    assert torch.equal(labels[0], one.labels.long())
    torch.testing.assert_close(frames[3, 0], one.frames["lidar"] / 255)


def test_finer_labels_are_scored_as_they_are_and_trained_on_at_the_frames_size():
    one = sample()
    fine = one.labels.repeat_interleave(2, 0).repeat_interleave(3, 1)
    finer = dataclasses.replace(one, labels=fine)
    frames, labels = ValidationBatch(MODALITIES, (64, 96))([finer])
    assert frames.shape[-2:] == (64, 96)
    assert torch.equal(labels[0], fine.long())
    assert torch.equal(finer.labels_at_frames(), one.labels)


def test_corruption_keeps_shape_and_range_and_is_never_idle():
    generator = torch.Generator().manual_seed(0)
    frame = torch.rand(3, 32, 48, generator=generator)
    for modality in MODALITIES:
        for seed in range(30):
            changed = corrupt(frame, modality, random.Random(seed))
            assert changed.shape == frame.shape and not torch.equal(changed, frame)
            assert changed.min() >= 0 and changed.max() <= 1
