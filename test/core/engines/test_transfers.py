"""What counts as news, and that buffers never show through."""

from __future__ import annotations

import types

import numpy as np
import pytest
import torch

from memorysam_core.engines.transfers import Fetcher, Intake

CPU = torch.device("cpu")


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", [lambda a: a, torch.from_numpy], ids=["numpy", "torch"])
def test_a_frame_written_in_place_is_news(kind) -> None:
    intake, array = Intake(CPU), noise()
    frame = kind(array)
    assert intake.is_news("image", frame)
    taken = intake.take("image", frame)
    assert not intake.is_news("image", frame) and not intake.is_news("image", array.copy())
    assert intake.is_news("depth", frame)
    array[3, 4, 1] ^= 1  # neither NumPy nor torch counts such a write to shared memory
    assert intake.is_news("image", frame)
    assert torch.equal(taken, torch.from_numpy(noise()))  # what was taken is a copy
    assert torch.equal(intake.take("image", frame), torch.from_numpy(array))


def test_another_size_is_news_and_so_is_everything_once_forgotten() -> None:
    intake, array = Intake(CPU), noise()
    intake.take("image", array)
    assert intake.is_news("image", array[:4])
    assert torch.equal(intake.take("image", array[:4]), torch.from_numpy(array[:4]))
    assert intake.is_news("image", array)
    intake.take("image", array)
    intake.forget()
    assert intake.is_news("image", array)


def test_arrays_of_any_layout() -> None:
    intake, array = Intake(CPU), noise()
    array.setflags(write=False)
    for frame in (array, array[::-1], array[:, ::2], np.asfortranarray(array)):
        assert np.array_equal(intake.take("image", frame).numpy(), frame)
        assert not intake.is_news("image", frame)


def test_on_a_device_the_object_and_its_writes_decide() -> None:
    device = torch.device("meta")  # stands for a GPU: a tensor that cannot be looked at
    intake = Intake(device)
    frame = torch.zeros(4, 4, 3, dtype=torch.uint8, device=device)
    intake.take("image", frame)
    assert not intake.is_news("image", frame)
    assert intake.is_news("image", frame.clone())
    frame[0] = 1
    assert intake.is_news("image", frame)
    intake.take("image", frame)
    assert not intake.is_news("image", frame)
    with torch.inference_mode():  # writes to these are not counted
        uncounted = torch.zeros(4, 4, 3, dtype=torch.uint8, device=device)
        intake.take("image", uncounted)
        assert intake.is_news("image", uncounted)


def test_buffers_do_not_add_up_with_the_sizes_of_results(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.Size] = []
    empty = torch.empty

    def counted(shape, *, dtype, pin_memory):
        assert pin_memory
        made.append(shape)
        return empty(shape, dtype=dtype)

    stream = types.SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch, "empty", counted)
    fetcher = Fetcher(torch.device("cuda"))
    for size in (4, 4, 6, 4, 9):
        labels, flag = fetcher.fetch(torch.arange(size), torch.tensor(True))
        assert labels.tolist() == list(range(size)) and flag
    assert [tuple(shape) for shape in made] == [(4,), (), (6,), (4,), (9,)]
    assert len(fetcher._pinned) == 2
    fetcher.forget()
    assert not fetcher._pinned


def test_results_come_as_they_are() -> None:
    one, other = torch.arange(5), torch.tensor(True)
    numbers, flag = Fetcher(CPU).fetch(one, other)
    assert numbers.tolist() == [0, 1, 2, 3, 4] and bool(flag) is True
