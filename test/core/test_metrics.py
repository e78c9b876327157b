"""Confusion matrix and figures against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from memorysam_core.metrics import ConfusionMatrix, Scores


@settings(max_examples=40)
@given(
    st.integers(2, 30), st.integers(0, 400), st.floats(0, 0.9), st.integers(0, 2**31), st.booleans()
)
def test_agrees_with_scikit_learn(classes, pixels, ignored, seed, as_torch):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, pixels).astype(np.uint8)
    predicted = rng.integers(0, classes, pixels).astype(np.uint8)
    truth[rng.random(pixels) < ignored] = 255
    known = truth != 255
    given_ = (
        (torch.from_numpy(predicted), torch.from_numpy(truth)) if as_torch else (predicted, truth)
    )
    matrix = ConfusionMatrix(classes).update(*given_)

    ids = list(range(classes))
    if not known.any():
        assert matrix.counts.sum() == 0
        assert matrix.scores().miou == 0 and matrix.scores().miou_present == 0
        return
    t, p = truth[known], predicted[known]
    assert matrix.counts.dtype == np.int64
    np.testing.assert_array_equal(matrix.counts, reference.confusion_matrix(t, p, labels=ids))
    scores = matrix.scores()
    jaccard = reference.jaccard_score(t, p, labels=ids, average=None, zero_division=0)
    np.testing.assert_allclose(scores.iou, jaccard)
    f1 = reference.f1_score(t, p, labels=ids, average=None, zero_division=0)
    np.testing.assert_allclose(scores.f1, f1)
    assert scores.accuracy == pytest.approx(reference.accuracy_score(t, p))
    assert scores.miou == pytest.approx(jaccard.mean())
    assert scores.miou_present == pytest.approx(jaccard[np.unique(t)].mean())


def test_both_means_by_hand():
    truth = np.array([[0, 0, 1, 1, 255]])
    predicted = np.array([[0, 1, 1, 3, 2]])
    scores = ConfusionMatrix(4).update(predicted, truth).scores()
    np.testing.assert_allclose(scores.iou, [1 / 2, 1 / 3, 0, 0])
    assert scores.miou == pytest.approx((1 / 2 + 1 / 3) / 4)
    # Class 3 was predicted but never true: it does not count as present.
    assert scores.miou_present == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert scores.to_dict()["classes_present"] == 2
    assert scores.accuracy == 0.5


def test_counts_do_not_saturate_or_round():
    """2**53 + 1 is not a float64, 2**31 not an int32: matrices of a data set reach such numbers."""
    big = np.full((2, 2), 2**60, np.int64)
    total = ConfusionMatrix(2, counts=big) + ConfusionMatrix(2, counts=np.ones((2, 2), np.int64))
    assert total.counts.tolist() == [[2**60 + 1] * 2] * 2


def test_sum_of_parts_is_the_whole():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 5, (2, 6, 40))
    parts = [ConfusionMatrix(5).update(p, t) for p, t in zip(predicted, truth, strict=True)]
    whole = ConfusionMatrix(5).update(predicted, truth)
    np.testing.assert_array_equal(ConfusionMatrix.total(parts).counts, whole.counts)


def test_wide_labels_and_their_ignore_id():
    truth = np.array([300, 65535, 2], np.uint16)
    matrix = ConfusionMatrix(301, ignore=65535).update(np.array([300, 1, 2], np.uint16), truth)
    assert matrix.counts[300, 300] == 1 and matrix.counts.sum() == 2


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"\(2, 3\).*\(3, 2\).*one size"),
        (np.array([4]), np.array([0]), "predicted labels reach from 4 to 4; accepted are 0 to 3"),
        (np.array([0]), np.array([-1]), "true labels reach from -1"),
        (np.array([0.5]), np.array([0]), "float64"),
    ],
)
def test_wrong_labels_are_refused(predicted, truth, message):
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(4).update(predicted, truth)


def test_matrices_of_different_spaces_do_not_add():
    with pytest.raises(ValueError, match="3 classes.*4"):
        ConfusionMatrix(4) + ConfusionMatrix(3)
    with pytest.raises(ValueError, match="at least one"):
        ConfusionMatrix.total([])


def test_scores_of_an_empty_class_are_zero_not_nan():
    scores = Scores.of(np.zeros((3, 3), np.int64))
    assert not np.isnan(scores.iou).any() and scores.accuracy == 0
