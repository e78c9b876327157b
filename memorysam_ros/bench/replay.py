"""How fast a bag is replayed, beside decoding it only, and whether memory grows with its length."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from memorysam_core.bench.row import Row
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.frames.camera import Camera
from memorysam_core.labels import DELIVER
from memorysam_ros import conversions
from memorysam_ros.bags import Bag, BagWriter
from memorysam_ros.bags.dataset_export import Drawing
from memorysam_ros.bags.replay import Replay
from memorysam_ros.bags.results import Results
from memorysam_ros.bags.topics import find
from memorysam_ros.bags.transforms import BagTransforms
from memorysam_ros.parameters import from_values
from memorysam_ros.pipeline import Pipeline

SIZE = (384, 640)
CAMERA = Camera(640, 384, 320.0, 320.0, 320.0, 192.0)
POINTS, RATE_HZ = 60_000, 10
DECODERS: dict[str, Callable] = {
    "/camera/image": conversions.rgb,
    "/depth/image": conversions.depth_m,
    "/events/image": conversions.rgb,
    "/lidar/points": conversions.returns,
}


def rows(device: str, quick: bool) -> Iterator[Row]:
    """Sets a second: decoded only, drawn, and drawn and written; and memory over ten lengths."""
    sets = 30 if quick else 100
    sizes = f"4 sensors, {SIZE[1]} x {SIZE[0]}, {POINTS} points, no model"
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bag, long = Path(folder, "drive.mcap"), Path(folder, "long.mcap")
        write_drive(bag, sets)
        write_drive(long, 10 * sets)
        decoded = sets / _seconds(lambda: decode(bag))
        drawn = sets / _seconds(lambda: replay(bag))
        written = sets / _seconds(lambda: replay(bag, Path(folder, "out")))
        before_mb = resident_mb()
        replay(long, Path(folder, "long"))
        growth_mb = resident_mb() - before_mb
    yield Row("bag decoded", decoded, "sets/s", sizes)
    yield Row("bag replayed", drawn, "sets/s", "matched and drawn")
    yield Row("bag replayed and written", written, "sets/s", "all topics but organized points")
    yield Row("replay over real time", written / RATE_HZ, "x", f"{RATE_HZ} sets a second")
    yield Row("replay over decoding", drawn / decoded, "x", "same run")
    yield Row("replay: memory growth", growth_mb, "MB", f"{10 * sets} sets replayed and written")


def write_drive(path: Path, sets: int) -> None:
    """A bag of four sensors that see the same all the time."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    events = np.where(rng.random(SIZE) < 0.1, 255, 0).astype(np.uint8)[..., None].repeat(3, 2)
    depth = rng.uniform(1, 100, SIZE).astype(np.float32)
    xyz = rng.uniform((-30, -3, 1), (30, 3, 60), (POINTS, 3))
    with BagWriter(path) as writer:
        outputs = writer.messages
        still = (0, "camera", "lidar", np.eye(4))
        writer.write("/tf_static", outputs.transforms([still]), 1, latched=True)
        for number in range(sets):
            time_ns = 1_000_000_000 + number * 1_000_000_000 // RATE_HZ
            header, scan = outputs.header(time_ns, "camera"), outputs.header(time_ns, "lidar")
            writer.write("/camera/camera_info", outputs.camera_info(header, CAMERA), time_ns)
            writer.write("/depth/image", outputs.depth(header, depth), time_ns)
            writer.write("/events/image", outputs.rgb(header, events), time_ns)
            writer.write("/lidar/points", outputs.points(scan, xyz), time_ns)
            writer.write("/camera/image", outputs.rgb(header, image), time_ns)


def decode(path: Path) -> None:
    """Reads every message of the sensors."""
    with Bag(path) as bag:
        for raw in bag.messages(DECODERS):
            DECODERS[raw.topic](bag.deserialise(raw))


def replay(path: Path, output: Path | None = None) -> None:
    """Replays a bag without a model, and writes what comes of it if an output is given."""
    contract = InputContract(deliver_modalities("log_depth"), DELIVER)
    with Bag(path) as bag, ExitStack() as stack:
        parameters = from_values({"event.source": "image"})
        transforms = stack.enter_context(BagTransforms(bag))
        pipeline = Pipeline(Drawing(contract, SIZE), parameters, transforms)
        moments = Replay(bag, find(bag.topics.values(), {}), pipeline, transforms)
        if output is None:
            for _ in moments:
                pass
            return
        output.mkdir()
        writer = stack.enter_context(BagWriter(output / "bag", compress=True))
        results = Results(output, moments, None, writer, {})
        for moment in moments:
            results.add(moment)
        results.finish()


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def resident_mb() -> float:
    """Memory of this process that is in use."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024
