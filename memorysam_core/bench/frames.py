"""Frames: projection against Open3D, occlusion removal against a ray cast, events, HHA, depth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from memorysam_core.bench.removal import removal_rows
from memorysam_core.bench.row import Row
from memorysam_core.bench.timing import Work, in_turn, once_ms, timed
from memorysam_core.frames import lidar
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.depth import register
from memorysam_core.frames.draw import Frame, draw
from memorysam_core.frames.evt3 import Evt3Decoder
from memorysam_core.frames.hha import draw_hha
from memorysam_core.frames.raster import farthest, keep_nearest
from memorysam_core.frames.readings import (
    DepthReading,
    EventsReading,
    ImageReading,
    PointsReading,
)
from memorysam_core.representations import (
    EventPolarity,
    EventTimeSurface,
    Hha,
    LidarRange,
    LogDepth,
    Rgb,
)

STAMP_NS = 50_000_000
POINTS = 130_000
SIZE = (1024, 1024)
_FIRST_STREET = 200
"""Streets that the constants of the occlusion removal were not chosen on."""
CAMERA = Camera(1024, 1024, 512.0, 512.0, 512.0, 512.0)


def rows(device: str, quick: bool) -> Iterator[Row]:
    """All rows; on the CPU with one thread, as beside a model on a robot."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        repeats = 5 if quick else 40
        yield from _projection(device, repeats)
        yield from _occlusion(device, repeats, streets=1 if quick else 12)
        yield from _events(device, repeats)
        yield from _depth(device, repeats)
        yield from _same_view(device, repeats)
    finally:
        torch.set_num_threads(threads)


def _cloud() -> PointsReading:
    """Points all over the image, in random order: the worst case for any memory."""
    rng = np.random.default_rng(0)
    z = rng.uniform(3, 80, POINTS)
    xy = rng.uniform(-0.98, 0.98, (POINTS, 2)) * z[:, None]
    return PointsReading(np.column_stack((xy, z)).astype(np.float32), np.eye(4))


def _on(reading: PointsReading, device: str) -> PointsReading:
    return PointsReading(torch.from_numpy(reading.xyz).to(device), reading.camera_from_lidar)


def _projection(device: str, repeats: int) -> Iterator[Row]:
    from memorysam_core.bench.street import Lidar, Street, mounted

    transform = mounted(1.2, 1.2)
    scan = Street(0).scan(Lidar(), transform)
    for name, reading in (
        (f"{POINTS} points, all in view", _cloud()),
        (f"a turn of 64 rings, {len(scan.xyz)} points", PointsReading(scan.xyz, transform)),
    ):
        ours, theirs = _ours(_on(reading, device)), _open3d(reading)
        ratio, spread = in_turn(theirs, ours, device, repeats)
        detail = f"1024 x 1024, one thread; above 1 we are faster; {spread}"
        yield Row(f"projection and z-buffer against Open3D, {name}", ratio, "x", detail)
        fastest = (
            min(timed(theirs, "cpu", repeats).runs_ms),
            min(timed(ours, device, repeats).runs_ms),
        )
        detail = f"quickest runs: Open3D {fastest[0]:.2f} ms, ours {fastest[1]:.2f} ms"
        yield Row(f"the same by quickest runs, {name}", fastest[0] / fastest[1], "x", detail)


def _ours(reading: PointsReading) -> Work:
    def work() -> torch.Tensor:
        view = lidar.look(reading, CAMERA, _device_of(reading), find_occluded=False)
        depth = farthest(SIZE[0] * SIZE[1] + 1, view.pixel.device)  # the last: beside the image
        keep_nearest(depth, view.pixel, view.xyz[:, 2])
        return depth[:-1]

    return work


def _device_of(reading: PointsReading) -> torch.device:
    return reading.xyz.device


def _open3d(reading: PointsReading) -> Work:
    import open3d as o3d

    cloud = o3d.t.geometry.PointCloud(o3d.core.Tensor(np.asarray(reading.xyz)))
    k = np.array([[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1]])
    intrinsics = o3d.core.Tensor(k)
    extrinsics = o3d.core.Tensor(np.asarray(reading.camera_from_lidar, float))
    return lambda: cloud.project_to_depth_image(*SIZE, intrinsics, extrinsics, 1.0, 1000.0)


def _occlusion(device: str, repeats: int, streets: int) -> Iterator[Row]:
    from memorysam_core.bench.street import Lidar, Street, front_camera, mounted

    transform = mounted(1.2, 1.2)
    for sensor in (Lidar(), Lidar(32, -25, 15), Lidar(16, -15, 15, 1800)):
        seeds = range(_FIRST_STREET, _FIRST_STREET + streets)
        scans = (Street(seed).scan(sensor, transform) for seed in seeds)
        setting = f"{sensor.rings} rings 1.2 m above and behind, {streets} streets, 1024 x 1024"
        yield from removal_rows(
            ((PointsReading(scan.xyz, transform), scan.occluded) for scan in scans),
            front_camera(),
            setting,
        )

    scan = Street(0).scan(Lidar(), transform)
    reading = _on(PointsReading(scan.xyz, transform), device)
    for name, how in (
        ("with occlusion removal", LidarRange()),
        ("without", LidarRange(remove_occluded=False)),
    ):
        timing = timed(partial(draw, how, reading, CAMERA, SIZE, 0, device), device, repeats)
        detail = (
            f"{len(scan.xyz)} points, quickest {min(timing.runs_ms):.2f}, p95 {timing.p95_ms:.2f}"
        )
        yield Row(f"LiDAR frame {name}", timing.p50_ms, "ms", detail)


def _events(device: str, repeats: int) -> Iterator[Row]:
    count, (height, width) = 1_000_000, (480, 640)
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, STAMP_NS, count))
    x, y = rng.integers(0, width, count), rng.integers(0, height, count)
    p = rng.integers(0, 2, count)
    t_ns, column, row, sign = (torch.from_numpy(v).to(device) for v in (t, x, y, p))
    events = EventsReading(t_ns, column, row, sign, width, height)
    flat, channel = y * width + x, np.where(p > 0, 0, 2)

    def numpy_frame() -> np.ndarray:
        inside = (t > 0) & (t <= STAMP_NS)
        frame = np.zeros((height * width, 3), np.uint8)
        last = np.zeros(height * width, np.int64)
        np.maximum.at(last, flat[inside], np.flatnonzero(inside) + 1)
        hit = np.flatnonzero(last)
        frame[hit, channel[last[hit] - 1]] = 255
        return frame.reshape(height, width, 3)

    how = EventPolarity()

    def work() -> Frame:
        return draw(how, events, None, (height, width), STAMP_NS, device)

    assert np.array_equal(work().pixels.cpu().numpy(), numpy_frame())
    ratio, spread = in_turn(numpy_frame, work, device, repeats)
    yield Row("1 million events to a frame, against NumPy", ratio, "x", f"640 x 480; {spread}")
    runs = timed(work, device, repeats)
    detail = f"640 x 480, quickest {min(runs.runs_ms):.1f}"
    yield Row("1 million events to a frame", runs.p50_ms, "ms", detail)
    surface = timed(
        lambda: draw(EventTimeSurface(), events, None, (height, width), STAMP_NS, device),
        device, repeats,
    )  # fmt: skip
    yield Row("1 million events to a time surface", surface.p50_ms, "ms", "640 x 480")

    words = np.empty((200_000, 4), "<u2")
    words[:, 0], words[:, 1] = 0x8000, 0x6000 | np.arange(200_000) // 50
    words[:, 2], words[:, 3] = rng.integers(0, 480, 200_000), 0x2000 | rng.integers(0, 640, 200_000)
    took = min(once_ms(lambda: Evt3Decoder().decode(words.tobytes()), "cpu") for _ in range(5))
    yield Row(
        "EVT3 decoding", 200_000 / took / 1e3, "million events/s", "NumPy, one core, quickest"
    )


def _depth(device: str, repeats: int) -> Iterator[Row]:
    camera = Camera(1024, 576, 512.0, 512.0, 512.0, 288.0)
    y = torch.from_numpy(camera.rays()[..., 1].copy())
    metres = torch.where(y > 0.02, 1.6 / y, 60.0).to(device)
    runs = timed(lambda: draw_hha(metres, camera, Hha()), device, repeats)
    ratio, spread = in_turn(
        _open3d_normals(metres, camera), lambda: draw_hha(metres, camera, Hha()), device, repeats
    )
    detail = f"normals alone by Open3D's create_normal_map; {spread}"
    yield Row("HHA at 1024 x 576 against Open3D's normals", ratio, "x", detail)
    detail = f"quickest {min(runs.runs_ms):.1f}"
    yield Row("HHA at 1024 x 576", runs.p50_ms, "ms", detail)

    sensor = Camera(640, 480, 380.0, 380.0, 320.0, 240.0)
    y = torch.from_numpy(sensor.rays()[..., 1].copy())
    beside = np.eye(4)
    beside[0, 3] = 0.05
    image = torch.where(y > 0.05, 1.2 / y, 8.0).to(device)
    reading = DepthReading(image, sensor, beside)

    def work() -> torch.Tensor:
        return register(reading, CAMERA, device)

    ratio, spread = in_turn(_open3d_registration(image, sensor, beside), work, device, repeats)
    filled = float(torch.isfinite(work()).float().mean())
    detail = f"640 x 480 to 1024 x 1024; ours fills {100 * filled:.0f} % of the pixels; {spread}"
    yield Row("depth registration against Open3D's, which leaves holes", ratio, "x", detail)
    runs = timed(work, device, repeats)
    yield Row("depth registration", runs.p50_ms, "ms", f"quickest {min(runs.runs_ms):.1f}")


def _same_view(device: str, repeats: int) -> Iterator[Row]:
    """What most robots have: depth in the colour camera's view, an image of another size."""
    rng = np.random.default_rng(0)
    metres = rng.uniform(0.5, 90, SIZE).astype(np.float32)
    metres[rng.random(SIZE) < 0.1] = np.nan
    depth = DepthReading(torch.from_numpy(metres).to(device))
    runs = timed(lambda: draw(LogDepth(), depth, CAMERA, SIZE, 0, device), device, repeats)
    yield Row("depth frame", runs.p50_ms, "ms", f"1024 x 1024, quickest {min(runs.runs_ms):.1f}")
    pixels = torch.from_numpy(rng.integers(0, 256, (720, 1280, 3), np.uint8)).to(device)
    image = ImageReading(pixels)
    runs = timed(lambda: draw(Rgb(), image, CAMERA, SIZE, 0, device), device, repeats)
    detail = f"1280 x 720 to 1024 x 1024, quickest {min(runs.runs_ms):.1f}"
    yield Row("colour image", runs.p50_ms, "ms", detail)


def _open3d_normals(metres: torch.Tensor, camera: Camera) -> Work:
    import open3d as o3d

    image = o3d.t.geometry.Image(o3d.core.Tensor(metres.cpu().numpy()[..., None].copy()))
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    intrinsics = o3d.core.Tensor(k)
    return lambda: image.create_vertex_map(intrinsics).create_normal_map()


def _open3d_registration(metres: torch.Tensor, sensor: Camera, transform: np.ndarray) -> Work:
    import open3d as o3d

    image = o3d.t.geometry.Image(o3d.core.Tensor(metres.cpu().numpy()[..., None].copy()))
    k = np.array([[sensor.fx, 0, sensor.cx], [0, sensor.fy, sensor.cy], [0, 0, 1]])
    theirs = o3d.core.Tensor(k)
    into = dataclasses.astuple(CAMERA)[2:6]
    wanted = o3d.core.Tensor(np.array([[into[0], 0, into[2]], [0, into[1], into[3]], [0, 0, 1]]))
    extrinsics = o3d.core.Tensor(transform)

    def work() -> object:
        cloud = o3d.t.geometry.PointCloud.create_from_depth_image(
            image, theirs, depth_scale=1.0, depth_max=1000.0
        )
        return cloud.project_to_depth_image(*SIZE, wanted, extrinsics, 1.0, 1000.0)

    return work
