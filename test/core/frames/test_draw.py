"""The one call that draws: which reading goes with which representation, sizes and devices."""

import numpy as np
import pytest
import torch

from memorysam_core.contract import deliver_modalities
from memorysam_core.frames import (
    Camera,
    DepthReading,
    EventsReading,
    ImageReading,
    PointsReading,
    RenderedReading,
    draw,
)
from memorysam_core.representations import EventTimeSurface, Hha, LidarRange, LogDepth, Rgb

CAMERA = Camera(128, 96, 80.0, 80.0, 64.0, 48.0)
SIZE = (64, 96)
RNG = np.random.default_rng(0)
IMAGE = ImageReading(RNG.integers(0, 256, (96, 128, 3), np.uint8))
DEPTH = DepthReading(RNG.uniform(4, 60, (48, 64)))
POINTS = PointsReading(RNG.uniform((-20, -10, 1), (20, 10, 60), (500, 3)), np.eye(4))
EVENTS = EventsReading(
    RNG.integers(0, 10**9, 400), RNG.integers(0, 64, 400), RNG.integers(0, 48, 400),
    RNG.integers(0, 2, 400), 64, 48,
)  # fmt: skip
READINGS = {"image": IMAGE, "depth": DEPTH, "event": EVENTS, "lidar": POINTS}


@pytest.mark.parametrize("kind", ["hha", "log_depth"])
def test_every_modality_of_the_contract_is_drawn(kind):
    for modality in deliver_modalities(kind):
        frame = draw(modality, READINGS[modality.name], CAMERA, SIZE, 10**9)
        assert frame.pixels.shape == (*SIZE, 3)
        assert frame.pixels.dtype == torch.uint8
        assert frame.pixels.is_contiguous()
        assert frame.pixels.any()
        assert (frame.point_index is not None) == (modality.name == "lidar")


def test_intrinsics_are_scaled_to_the_size():
    point = PointsReading(np.array([[5.0, 2.5, 10.0]]), np.eye(4))
    for size in ((96, 128), (192, 256), (64, 96)):
        index = draw(LidarRange(), point, CAMERA, size).point_index
        row, column = np.argwhere(index.numpy() == 0)[0]
        assert column == int((64 + 40) * size[1] / 128)
        assert row == int((48 + 20) * size[0] / 96)


@pytest.mark.parametrize("what", [LidarRange(), Hha()])
def test_frames_that_need_the_camera_say_so(what):
    reading = POINTS if isinstance(what, LidarRange) else DEPTH
    with pytest.raises(ValueError, match=f"{what.name!r} needs the colour camera's intrinsics"):
        draw(what, reading, None, SIZE)


def test_depth_of_another_camera_needs_the_colour_camera():
    reading = DepthReading(np.ones((48, 64)), Camera(64, 48, 40, 40, 32, 24), np.eye(4))
    with pytest.raises(ValueError, match="depth of another camera needs"):
        draw(LogDepth(), reading, None, SIZE)


def test_a_reading_of_another_kind_is_refused():
    with pytest.raises(
        ValueError, match="PointsReading cannot be drawn as 'rgb', which takes image"
    ):
        draw(Rgb(), POINTS, CAMERA, SIZE)


def test_what_is_drawn_already_passes_for_any_representation():
    pixels = RNG.integers(0, 256, (32, 48, 3), np.uint8)
    frame = draw(EventTimeSurface(), RenderedReading(pixels), None, SIZE).pixels.numpy()
    assert np.array_equal(frame, pixels.repeat(2, 0).repeat(2, 1))


def test_torch_readings_draw_what_numpy_readings_draw():
    as_torch = {
        "image": ImageReading(torch.from_numpy(IMAGE.pixels)),
        "depth": DepthReading(torch.from_numpy(DEPTH.metres)),
        "event": EventsReading(
            *(torch.from_numpy(v) for v in (EVENTS.t_ns, EVENTS.x, EVENTS.y, EVENTS.p)), 64, 48
        ),
        "lidar": PointsReading(torch.from_numpy(POINTS.xyz), torch.eye(4)),
    }
    for modality in deliver_modalities():
        expected = draw(modality, READINGS[modality.name], CAMERA, SIZE, 10**9).pixels
        assert torch.equal(
            draw(modality, as_torch[modality.name], CAMERA, SIZE, 10**9).pixels, expected
        )


def test_readings_are_not_written_to():
    copies = IMAGE.pixels.copy(), DEPTH.metres.copy(), POINTS.xyz.copy(), EVENTS.t_ns.copy()
    for modality in deliver_modalities():
        draw(modality, READINGS[modality.name], CAMERA, (96, 128), 10**9).pixels.zero_()
    for before, after in zip(
        copies, (IMAGE.pixels, DEPTH.metres, POINTS.xyz, EVENTS.t_ns), strict=True
    ):
        assert np.array_equal(before, after)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_draws_what_the_cpu_draws():
    for modality in deliver_modalities():
        on_cpu = draw(modality, READINGS[modality.name], CAMERA, SIZE, 10**9).pixels
        on_gpu = draw(modality, READINGS[modality.name], CAMERA, SIZE, 10**9, "cuda").pixels
        assert on_gpu.is_cuda
        assert (on_gpu.cpu().int() - on_cpu.int()).abs().max() <= 1
