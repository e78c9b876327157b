"""Real recordings: KITTI's scans, an event camera's packets, CARLA's labels, DELIVER's frames."""

import sqlite3
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from memorysam_core.frames import Camera, DepthReading, PointsReading, draw, lidar
from memorysam_core.frames.evt3 import Evt3Decoder, evt3_decoder
from memorysam_core.labels import DELIVER, IGNORE
from memorysam_core.representations import LidarRange, LogDepth


def kitti(folder, frame):
    """A scan in the left colour camera, and that camera."""
    rows = {}
    for line in (folder / "kitti/training/calib" / f"{frame}.txt").read_text().splitlines():
        name, _, numbers = line.partition(":")
        rows[name] = np.array(numbers.split(), float)
    p = rows["P2"].reshape(3, 4)
    rectified_from_velodyne = np.eye(4)
    rectified_from_velodyne[:3] = rows["Tr_velo_to_cam"].reshape(3, 4)
    rotation, shift = np.eye(4), np.eye(4)
    rotation[:3, :3] = rows["R0_rect"].reshape(3, 3)
    # P2 = K [I | t]: the colour camera stands beside the one that the scan is calibrated to.
    shift[:3, 3] = np.linalg.solve(p[:, :3], p[:, 3])
    scan = np.fromfile(folder / "kitti/training/velodyne" / f"{frame}.bin", np.float32)
    width, height = Image.open(folder / "kitti/training/image_2" / f"{frame}.png").size
    camera = Camera(width, height, p[0, 0], p[1, 1], p[0, 2], p[1, 2])
    xyz = scan.reshape(-1, 4)[:, :3]
    return PointsReading(xyz, shift @ rotation @ rectified_from_velodyne), camera


@pytest.mark.parametrize(("frame", "count"), [("000000", 20285), ("000001", 18630)])
def test_as_many_kitti_points_land_in_the_image_as_by_hand(shared_data, frame, count):
    reading, camera = kitti(shared_data, frame)
    view = lidar.look(reading, camera)
    assert len(view.index) == count
    # The scanner stands 8 cm above and 27 cm behind the camera: little is hidden, but something.
    assert 0.94 < view.visible.float().mean() < 0.995


def test_kitti_depth_edges_lie_on_image_edges(shared_data):
    """The overlay lines up: the image changes more where the scan jumps than elsewhere."""
    reading, camera = kitti(shared_data, "000001")
    image = Image.open(shared_data / "kitti/training/image_2/000001.png").convert("L")
    gradient = np.abs(np.gradient(np.asarray(image, float), axis=1))
    view = lidar.look(reading, camera)

    def edge_strength(shift):
        index = lidar.find_points(view, LidarRange())
        row, column = np.nonzero(index.numpy() >= 0)
        z = np.asarray(reading.xyz)[index.numpy()[row, column], 0]
        jump = (np.diff(row) == 0) & (np.diff(column) < 5) & (np.abs(np.diff(z)) > 1.5)
        at = np.flatnonzero(jump)
        edge = np.clip((column[at] + column[at + 1]) // 2 + shift, 1, camera.width - 2)
        return gradient[row[at], edge].mean()

    here = edge_strength(0)
    assert here > 1.15 * np.mean([edge_strength(s) for s in (-20, -14, -9, 9, 14, 20)])


def packets(path):
    """The bytes of each EventPacket of a bag, read by hand from CDR."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as bag:
        for (data,) in bag.execute("select data from messages order by timestamp"):
            frame_id = struct.unpack_from("<I", data, 12)[0]
            at = 4 + -(-(12 + frame_id) // 4) * 4
            height, width = struct.unpack_from("<II", data, at)
            at = 4 + -(-(at + 8 - 4) // 8) * 8 + 16
            encoding = struct.unpack_from("<I", data, at)[0]
            assert data[at + 4 : at + 4 + encoding - 1] == b"evt3"
            at = 4 + -(-(at + 4 + encoding + 1 - 4) // 4) * 4
            length = struct.unpack_from("<I", data, at)[0]
            yield width, height, data[at + 4 : at + 4 + length]


def installed(width, height):
    """The decoder of event_camera_py itself."""
    pytest.importorskip("event_camera_py")
    return evt3_decoder(width, height)


@pytest.mark.parametrize("make", [Evt3Decoder, installed])
def test_every_event_of_the_bag_is_decoded_as_the_reference_has_it(shared_data, make):
    folder = shared_data / "event_packets" / "test_events_1"
    with np.load(folder / "decoded_events.npz") as reference:
        expected = {name: reference[name] for name in "txyp"}
    decoder = make(640, 480)
    decoded = []
    for width, height, data in packets(folder / "test_events_1.db3"):
        assert (width, height) == (640, 480)
        decoded.append(decoder.decode(data))
    assert sum(map(len, decoded)) == 343_474
    np.testing.assert_array_equal(np.concatenate([e.t_ns for e in decoded]), expected["t"] * 1000)
    for name in "xyp":
        got = np.concatenate([getattr(e, name) for e in decoded])
        np.testing.assert_array_equal(got, expected[name])


def test_carla_colours_are_delivers_labels(shared_data):
    colours = np.asarray(Image.open(shared_data / "carla_frame/seg.png").convert("RGB"))
    expected = np.asarray(Image.open(shared_data / "carla_frame/semantic_deliver_id_plus1.png"))
    expected = expected if expected.ndim == 2 else expected[..., 0]
    labels = DELIVER.ids_from_colours(colours)
    known = np.isin(
        colours.astype(int) @ [1 << 16, 1 << 8, 1],
        np.array(DELIVER.colours) @ [1 << 16, 1 << 8, 1],
    )
    assert np.array_equal(labels == IGNORE, ~known)
    assert np.array_equal(labels[known] + 1, expected[known])
    assert (expected[~known] == IGNORE).all()


def test_a_real_depth_image_is_drawn_and_comes_back(shared_data):
    path = next((shared_data / "orfd/dense_depth").glob("*.png"))
    metres = np.asarray(Image.open(path)).astype(np.float32) / 256
    camera = Camera(1280, 720, 1487.75, 1471.06, 625.01, 376.48)
    frame = draw(LogDepth(), DepthReading(metres), camera, (384, 640)).pixels
    assert (frame[..., 0] == frame[..., 1]).all()
    valid = metres[metres > 3.5]
    grey = frame[..., 0][frame[..., 0] > 1].float()
    expected = 255 * (1 + np.log(valid / 1000) / 5.70378)
    assert abs(float(grey.mean()) - expected.mean()) < 2


def test_deliver_frames_have_the_kind_of_our_depth(shared_data):
    """Sky is the brightest and near road the darkest grey, as our drawing has it."""
    root = shared_data / "deliver_like/DELIVER"
    sky, road = [], []
    for path in sorted(root.glob("depth/*/*/*/*.png")):
        depth = np.asarray(Image.open(path).convert("L")).astype(int)
        semantic = str(path).replace("/depth/", "/semantic/").replace("_depth_", "_semantic_")
        labels = np.asarray(Image.open(semantic).convert("RGB"))[..., 0].astype(int) - 1
        sky.append(depth[labels == DELIVER.classes.index("Sky")])
        road.append(depth[200:][labels[200:] == DELIVER.classes.index("Road")])
    assert np.median(np.concatenate(sky)) > 245
    assert np.median(np.concatenate(road)) < 60
    drawn = draw(LogDepth(), DepthReading(torch.tensor([[1000.0, 6.0]])), None, (1, 2)).pixels
    assert drawn[0, 0, 0] > 245
    assert drawn[0, 1, 0] < 60
