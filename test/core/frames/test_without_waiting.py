"""On a GPU nothing is waited for: no number is read back, none is brought there unpinned.

Tensors on the device ``meta`` have shapes and no numbers, so that whatever must look at one fails.
What is drawn there in full on a GPU is compared on the CPU, by denying that this is the host.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from memorysam_core.bench.street import Lidar, Street, front_camera, mounted
from memorysam_core.frames import (
    Camera,
    DepthReading,
    EventsReading,
    ImageReading,
    PointsReading,
    RenderedReading,
    arrays,
    depth,
    draw,
    drop_kept,
    events,
    lidar,
    occlusion,
    raster,
    sliding,
    warping,
)
from memorysam_core.representations import (
    EventPolarity,
    EventTimeSurface,
    Hha,
    LidarRange,
    LogDepth,
    Rendered,
    Rgb,
)

CAMERA = front_camera(160, 96)
BENT = Camera(160, 96, 80.0, 80.0, 80.0, 48.0, "plumb_bob", (-0.15, 0.02, 0, 0, 0))
SENSOR = Camera(80, 64, 50.0, 50.0, 40.0, 32.0)
FISHEYE = Camera(80, 64, 50.0, 50.0, 40.0, 32.0, "plumb_bob", (-0.3, 0, 0, 0, 0))
"""Without a ray in its corners."""
SIZE = (96, 160)
STAMP_NS = 10**9
RNG = np.random.default_rng(0)
BESIDE = np.eye(4)
BESIDE[:3, 3] = 0.05, 0.01, 0.02


def scan() -> PointsReading:
    transform = mounted(1.2, 1.2)
    xyz = Street(0).scan(Lidar(32, -25, 15, 1024), transform).xyz.copy()
    xyz[::50] = np.nan
    return PointsReading(xyz, transform)


def stream(shuffled: bool, **calibration: object) -> EventsReading:
    t = RNG.integers(STAMP_NS - 10**8, STAMP_NS + 10**7, 3000)
    x, y = RNG.integers(-2, 84, 3000), RNG.integers(0, 64, 3000)
    t = t if shuffled else np.sort(t)
    return EventsReading(t, x, y, RNG.integers(0, 2, 3000), 80, 64, **calibration)


SCAN = scan()
METRES = RNG.uniform(1, 60, SIZE).astype(np.float32)
METRES[10:20, 30:50] = np.nan
ROOM = np.broadcast_to(1.5 / np.linspace(-0.8, 0.8, 96)[:, None].clip(0.05), SIZE).copy()
COARSE = METRES[:64, :80].astype(np.float64)
CASES = {
    "image": (Rgb(), ImageReading(RNG.integers(0, 256, (50, 70, 3), np.uint8)), CAMERA),
    "rendered": (Rendered(), RenderedReading(RNG.integers(0, 256, (50, 70, 3), np.uint8)), None),
    "depth": (LogDepth(invalid_level=7), DepthReading(METRES), CAMERA),
    "depth of another camera": (LogDepth(), DepthReading(COARSE, SENSOR, BESIDE), CAMERA),
    "depth of a bent camera": (LogDepth(), DepthReading(COARSE, FISHEYE, BESIDE), CAMERA),
    "depth into a bent view": (LogDepth(), DepthReading(COARSE, SENSOR, BESIDE), BENT),
    "hha": (Hha(), DepthReading(ROOM), CAMERA),
    "hha of a bent view": (Hha(), DepthReading(ROOM), BENT),
    "hha without ground": (Hha(), DepthReading(METRES), CAMERA),
    "lidar": (LidarRange(), SCAN, CAMERA),
    "lidar, all": (LidarRange(remove_occluded=False, distance="z"), SCAN, BENT),
    "lidar, dense": (LidarRange(densify_px=2), SCAN, CAMERA),
    "events": (EventPolarity(), stream(False), None),
    "events out of order": (EventPolarity(positive="blue"), stream(True), None),
    "events of a camera": (EventPolarity(), stream(False, camera=SENSOR), CAMERA),
    "events of a fine camera": (EventPolarity(), stream(True, camera=SENSOR), front_camera(40, 24)),
    "time surface": (EventTimeSurface(), stream(False), None),
}
every_case = pytest.mark.parametrize("case", CASES)


class Unpinned(TorchDispatchMode):
    """Counts tensors of the host that are copied to the device ``meta`` or used there."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = [a for a in args if isinstance(a, torch.Tensor)]
        made = result if isinstance(result, torch.Tensor) else None
        if made is not None and made.is_meta and any(not g.is_meta for g in given):
            self.count += 1
        return result


def drawn(case: str, device: str = "cpu") -> torch.Tensor:
    how, reading, camera = CASES[case]
    size = SIZE if camera is None else (camera.height, camera.width)
    frame = draw(how, reading, camera, size, STAMP_NS, device)
    return frame.pixels if frame.point_index is None else _with_index(frame)


def _with_index(frame) -> torch.Tensor:
    return torch.cat((frame.pixels.int(), frame.point_index[..., None]), -1)


@every_case
def test_no_number_is_looked_at(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(case, "meta")  # what is kept from one frame to the next is made
    through = 0

    def counted(tensor: torch.Tensor, device: str) -> torch.Tensor:
        nonlocal through
        through += torch.device(device).type != "cpu" and not tensor.is_meta
        return tensor.to(device)

    for module in (arrays, events):
        monkeypatch.setattr(module, "to_device", counted)
    with Unpinned() as unpinned:
        pixels = drawn(case, "meta")
    assert pixels.is_meta
    assert unpinned.count == through > 0


@every_case
def test_what_a_gpu_draws_is_what_the_host_draws(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = drawn(case)
    for module in (arrays, depth, events, lidar, occlusion, raster, sliding, warping):
        if hasattr(module, "on_host"):
            monkeypatch.setattr(module, "on_host", lambda tensor: False)
    monkeypatch.setattr(arrays, "to_device", lambda tensor, device: tensor)
    monkeypatch.setattr(lidar, "array_of", arrays.tensor_of)
    got = drawn(case)
    if case.startswith("lidar"):
        assert torch.equal(got, expected)
    else:  # logarithms of NumPy and torch differ in their last bit
        assert ((got.int() - expected.int()).abs() > 1).sum() == 0
        assert (got != expected).float().mean() < 1e-3
    assert expected.float().std() > 0


def test_grey_levels_take_a_few_launches_on_a_gpu() -> None:
    class Launches(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += 1
            return func(*args, **(kwargs or {}))

    metres = torch.empty(1024, 1024, device="meta")
    with Launches() as launches:
        depth.grey_from_metres(metres, LogDepth())
    assert launches.count < 25


@pytest.mark.parametrize("stripe", [1, 200, 10_000])
@pytest.mark.parametrize("combine", [torch.maximum, torch.minimum])
def test_a_window_of_a_radius_that_only_the_device_knows(
    combine: Callable, stripe: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sliding, "_STRIPE", stripe)
    image = RNG.integers(0, 200, (23, 31), np.uint8)
    outside = 0 if combine is torch.maximum else 255
    for rows, columns in ((0, 0), (1, 0), (3, 2), (7, 5), (9, 9)):
        expected = sliding.slide(image, (rows, columns), 9, combine, outside)
        unknown = torch.tensor((rows, columns)).unbind()
        got = sliding.slide(torch.from_numpy(image), unknown, 9, combine, outside)
        assert np.array_equal(got.numpy(), expected)
        window = image[5 - min(rows, 5) : 6 + rows, 8 - min(columns, 8) : 9 + columns]
        assert expected[5, 8] == (window.max() if combine is torch.maximum else window.min())
    assert expected.shape == image.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_case
def test_a_gpu_is_not_waited_for(case: str) -> None:
    drawn(case, "cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        drawn(case, "cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_nothing_of_a_device_is_kept_once_it_is_dropped() -> None:
    def on_device() -> int:
        gc.collect()
        tensors = (o for o in gc.get_objects() if issubclass(type(o), torch.Tensor))
        return sum(tensor.is_meta for tensor in tensors)

    drop_kept()
    before = on_device()
    for case in CASES:
        drawn(case, "meta")
    assert on_device() > before
    drop_kept()
    assert on_device() == before
