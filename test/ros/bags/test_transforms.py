"""Moving transforms of a bag: a LiDAR on a turret that turns and rises steadily."""

import numpy as np
import pytest
import scene

from memorysam_ros.bags import Bag, BagWriter
from memorysam_ros.bags.transforms import KEPT_NS, BagTransforms
from memorysam_ros.calibration import CalibrationError
from memorysam_ros.conversions import Outputs

from .conftest import MAKE, MS, START_NS, stamps, write_drive
from .test_replay import replayed

OUTPUTS = Outputs(MAKE)
RATE_RAD_S, RISE_M_S = 3.0, 0.1
CAMERA_FROM_MAST = np.eye(4)
CAMERA_FROM_MAST[:3, 3] = (0.5, 0.0, 0.0)


def pose(stamp_ns: int) -> np.ndarray:
    """``mast_from_lidar``, about z."""
    at_s = (stamp_ns - START_NS) / 1e9
    angle = RATE_RAD_S * at_s
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[2, 3] = RISE_M_S * at_s
    return matrix


def spoken(until_ms: int, late_ms: int = 0, period_ms: int = 50):
    """Lines of (time, topic, message): the turret, and where the robot is, which plays no part."""
    for at_ms in range(-500, until_ms, period_ms):
        stamp = START_NS + at_ms * MS
        edges = [
            (stamp, "mast", "lidar", pose(stamp)),
            (stamp - KEPT_NS, "odom", "camera", np.eye(4)),
        ]
        yield stamp + late_ms * MS, "/tf", OUTPUTS.transforms(edges)


def write_turret(path, seconds=2.0, **said):
    """The drive, whose LiDAR stands on the turret."""
    plain = write_drive(path.with_name("plain"), seconds)
    lines = list(spoken(round(seconds * 1000) + 500, **said))
    with Bag(plain) as bag, BagWriter(path) as writer:
        edges = [(0, "camera", "mast", CAMERA_FROM_MAST)]
        writer.write("/tf_static", writer.messages.transforms(edges), START_NS, latched=True)
        kept = set(bag.topics) - {"/tf_static"}
        lines += [(raw.time_ns, raw.topic, raw) for raw in bag.messages(kept)]
        for time_ns, topic, message in sorted(lines, key=lambda line: line[0]):
            if topic == "/tf":
                writer.write(topic, message, time_ns)
            else:
                writer.write_raw(topic, message.msgtype, message.data, time_ns)
    return path


@pytest.fixture(scope="module")
def turret(tmp_path_factory):
    return write_turret(tmp_path_factory.mktemp("turret") / "bag.mcap")


def poses_used(moments) -> dict[int, np.ndarray]:
    """By the stamp of the scan."""
    return {
        m.matched.readings["lidar"][0].stamp_ns: np.asarray(
            m.result.readings["lidar"].camera_from_lidar
        )
        for m in moments
        if "lidar" in m.result.readings
    }


def test_each_scan_is_placed_by_the_pose_at_its_own_stamp(turret):
    moments, _ = replayed(turret)
    used = poses_used(moments)
    assert list(used) == stamps("lidar", 2.0)
    for stamp, camera_from_lidar in used.items():
        np.testing.assert_allclose(camera_from_lidar, CAMERA_FROM_MAST @ pose(stamp), atol=1e-9)
        # 13 ms after a sample: the sample's own pose would be off by 2 degrees.
        assert np.abs(camera_from_lidar - CAMERA_FROM_MAST @ pose(stamp - 13 * MS)).max() > 0.025


def test_a_replay_from_the_middle_knows_the_same(turret):
    whole, part = (poses_used(replayed(turret, start_s=s)[0]) for s in (0.0, 1.2))
    assert len(part) > 5
    for stamp, camera_from_lidar in part.items():
        np.testing.assert_array_equal(camera_from_lidar, whole[stamp])


def test_the_node_s_patience_is_the_replay_s(tmp_path):
    """A set closes at the latest 100 ms after its image; the pose at the scan is known later."""
    late = write_turret(tmp_path / "late.mcap", 1.0, late_ms=120)
    moments, _ = replayed(late, values={"tf_timeout": 0.2})
    assert len(poses_used(moments)) == 10
    moments, _ = replayed(late, values={"tf_timeout": 0.0})
    assert not poses_used(moments)
    trouble = moments[3].result.troubles["lidar"]
    assert "'lidar' to 'camera'" in trouble
    assert "the latest of 'lidar' in 'mast' is 0.063 s older" in trouble


@pytest.fixture
def long_bag(tmp_path):
    with BagWriter(tmp_path / "long") as writer:
        for number in range(4000):
            stamp = START_NS + number * 10 * MS
            edges = [(stamp, "base", "lidar", pose(stamp))]
            writer.write("/robot/tf", writer.messages.transforms(edges), stamp)
    return tmp_path / "long"


def test_old_transforms_are_forgotten(long_bag):
    with Bag(long_bag) as bag, BagTransforms(bag) as transforms:
        most = 0
        for at_s in range(39):
            transforms.advance(START_NS + at_s * 1000 * MS)
            most = max(most, len(transforms._moving["lidar"]))
        assert most <= KEPT_NS / (10 * MS) + 1
        last = START_NS + 38_000 * MS
        np.testing.assert_allclose(
            transforms.lookup("base", "lidar", last - 5 * MS), pose(last - 5 * MS)
        )
        latest = START_NS + 38_050 * MS  # 50 ms are waited for
        np.testing.assert_allclose(transforms.lookup("base", "lidar", 0), pose(latest))
        with pytest.raises(CalibrationError, match=r"first of 'lidar' .* is 18\.050 s newer"):
            transforms.lookup("base", "lidar", last - 28_000 * MS)


def test_what_nothing_connects_is_named(turret):
    with Bag(turret) as bag, BagTransforms(bag) as transforms:
        transforms.advance(START_NS + 500 * MS)
        with pytest.raises(CalibrationError, match="'velodyne' is .* camera, lidar, mast, odom"):
            transforms.lookup("camera", "velodyne", START_NS)
        np.testing.assert_array_equal(transforms.lookup("odom", "odom", START_NS), np.eye(4))


def test_a_broken_transform_is_left_out_and_said(tmp_path):
    still = OUTPUTS.transforms([(START_NS, "camera", "lidar", scene.POSE)])
    broken = OUTPUTS.transforms([(START_NS, "camera", "lidar", np.eye(4))])
    broken.transforms[0].transform.rotation.w = 0.0
    with BagWriter(tmp_path / "bag") as writer:
        for time_ns, message in enumerate((broken, still, broken)):
            writer.write("/tf_static", message, START_NS + time_ns, latched=True)
    with Bag(tmp_path / "bag") as bag, BagTransforms(bag) as transforms:
        np.testing.assert_allclose(transforms.lookup("camera", "lidar", 5), scene.POSE)
        (warning,) = bag.warnings
        assert "/tf_static" in warning and "quaternion" in warning
