import textwrap
from types import SimpleNamespace as Message

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memorysam_core.frames.camera import Camera
from memorysam_ros import conversions
from memorysam_ros.calibration import (
    Calibration,
    CalibrationError,
    Extrinsics,
    StaticTransforms,
    TfTransforms,
    inverse,
    parse_transform,
)
from memorysam_ros.conversions import StampedTransform
from memorysam_ros.conversions.transforms import matrix_from_quaternion


def edge(parent: str, child: str, *values: float) -> StampedTransform:
    return StampedTransform(parent, child, 0, parse_transform(values))


HALF_TURN_Z = (0, 0, 1, 0)
QUARTER_TURN_Z = (0, 0, 2**-0.5, 2**-0.5)
STILL = (0, 0, 0, 1)

ROBOT = [
    edge("base", "mast", 0, 0, 2, *STILL),
    edge("mast", "lidar", 1, 0, 0, *QUARTER_TURN_Z),
    edge("base", "camera", 3, 0, 0, *HALF_TURN_Z),
]


# --- the tree of static transforms


def test_a_chain_over_a_common_ancestor():
    camera_from_lidar = StaticTransforms(ROBOT).lookup("camera", "lidar")
    # lidar (1, 0, 0) is mast (1, 1, 0), base (1, 1, 2), and from the turned camera at x = 3:
    np.testing.assert_allclose(camera_from_lidar @ [1, 0, 0, 1], [2, -1, 2, 1], atol=1e-12)


def test_the_way_back_is_the_inverse():
    tree = StaticTransforms(ROBOT)
    there, back = tree.lookup("camera", "lidar"), tree.lookup("lidar", "camera")
    np.testing.assert_allclose(there @ back, np.eye(4), atol=1e-12)
    np.testing.assert_array_equal(tree.lookup("lidar", "lidar"), np.eye(4))
    np.testing.assert_allclose(tree.lookup("base", "lidar") @ [0, 0, 0, 1], [1, 0, 2, 1])


def test_a_later_edge_replaces_an_earlier_one():
    tree = StaticTransforms(ROBOT)
    tree.lookup("base", "camera")
    tree.add([edge("base", "camera", 9, 0, 0, *STILL)])
    np.testing.assert_allclose(tree.lookup("base", "camera")[:3, 3], [9, 0, 0])


def test_an_unknown_frame_names_the_known_ones():
    with pytest.raises(CalibrationError, match="'velodyne' is not .*base, camera, lidar, mast"):
        StaticTransforms(ROBOT).lookup("camera", "velodyne")
    with pytest.raises(CalibrationError, match="'b' and 'a' are not .* knows no frame"):
        StaticTransforms().lookup("b", "a")


def test_two_trees_are_told_apart():
    tree = StaticTransforms([*ROBOT, edge("map", "tag", 0, 0, 0, *STILL)])
    with pytest.raises(CalibrationError, match="'tag' hangs below 'map' and 'camera' below 'base'"):
        tree.lookup("camera", "tag")


def test_a_circle_ends():
    tree = StaticTransforms([edge("a", "b", 0, 0, 1, *STILL), edge("b", "a", 0, 0, 1, *STILL)])
    assert tree.lookup("a", "b")[2, 3] in (1, -1)


rigid = st.builds(
    matrix_from_quaternion,
    st.tuples(*[st.floats(-9, 9)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
)


@given(st.lists(rigid, min_size=2, max_size=5), st.integers(0, 4))
def test_chains_compose(steps, branch):
    names = [f"frame{i}" for i in range(len(steps) + 1)]
    edges = [StampedTransform(names[i], names[i + 1], 0, step) for i, step in enumerate(steps)]
    whole = np.linalg.multi_dot(steps)
    tree = StaticTransforms(reversed(edges))
    np.testing.assert_allclose(tree.lookup(names[0], names[-1]), whole, atol=1e-9)
    middle = names[min(branch, len(steps))]
    through = tree.lookup(names[0], middle) @ tree.lookup(middle, names[-1])
    np.testing.assert_allclose(through, whole, atol=1e-9)
    np.testing.assert_allclose(inverse(whole) @ whole, np.eye(4), atol=1e-9)


# --- what the user gives


@pytest.mark.parametrize(
    "values",
    [
        (1, 2, 3, *QUARTER_TURN_Z),
        "1 2 3 0 0 0.7071068 0.7071068",
        "1, 2, 3, 0, 0, 5, 5",
        [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]],
        [0, -1, 0, 1, 1, 0, 0, 2, 0, 0, 1, 3, 0, 0, 0, 1],
    ],
)
def test_transforms_in_all_notations(values):
    expected = [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(parse_transform(values), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("1 2 3", "neither 7 numbers"),
        ("1 2 3 0 0 0 up", "neither 7 numbers"),
        ([0.0] * 7, "quaternion"),
        ([1, 2, float("nan"), 0, 0, 0, 1], "finite"),
        (np.diag([1, 1, -1, 1]), "no rigid"),
        (np.diag([2, 1, 1, 1]), "no rigid"),
        (np.eye(4) + np.eye(4)[:, [3, 0, 1, 2]] * 0.1, "no rigid"),
        ([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 2, 3, 1]], "row by row"),
        (None, "neither 7 numbers"),
    ],
)
def test_transforms_that_are_none(values, words):
    with pytest.raises(CalibrationError, match=words):
        parse_transform(values)


FILE = """
    intrinsics:
      image:
        image_width: 640
        image_height: 480
        camera_name: front
        distortion_model: plumb_bob
        camera_matrix: {rows: 3, cols: 3, data: [500, 0, 320, 0, 510, 240, 0, 0, 1]}
        distortion_coefficients: {rows: 1, cols: 5, data: [-0.3, 0.1, 0.001, 0.002, 0]}
    extrinsics:
      lidar: 0 0 0.1 0 0 0 1
      depth: [[1, 0, 0, 0.05], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
"""


CAMERA = "intrinsics: {{image: {{image_width: 640, image_height: 480, camera_matrix: {}}}}}"


def written(tmp_path, text: str):
    path = tmp_path / "rig.yaml"
    path.write_text(textwrap.dedent(text))
    return path


def test_a_calibration_file(tmp_path):
    calibration = Calibration.from_file(written(tmp_path, FILE))
    distortion = (-0.3, 0.1, 0.001, 0.002, 0)
    assert calibration.intrinsics == {
        "image": Camera(640, 480, 500, 510, 320, 240, "plumb_bob", distortion)
    }
    assert calibration.extrinsics["lidar"][2, 3] == 0.1
    assert calibration.extrinsics["depth"][0, 3] == 0.05
    assert Calibration.from_file(written(tmp_path, "")) == Calibration()
    plain = Calibration.from_file(
        written(tmp_path, CAMERA.format([500, 0, 320, 0, 510, 240, 0, 0, 1]))
    )
    assert plain.intrinsics["image"] == Camera(640, 480, 500, 510, 320, 240)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extrinsic: {}", "known are intrinsics, extrinsics"),
        ("extrinsics: {radar: 0 0 0 0 0 0 1}", "radar; known are depth, event, lidar"),
        ("extrinsics: {lidar: 1 2 3}", "neither 7"),
        ("intrinsics: {image: {fx: 500}}", "camera_calibration"),
        ("intrinsics: [1]", "intrinsics is .1.; give them by sensor"),
        ("extrinsics: [1]", "extrinsics is .1.; give them by sensor"),
        (CAMERA.format("{rows: 3}"), "data"),
        (CAMERA.format("5"), "iterable"),
        ("- 1", "no mapping"),
        ("a: [", "rig.yaml"),
    ],
)
def test_wrong_calibration_files_name_the_file_and_the_key(tmp_path, text, words):
    with pytest.raises(CalibrationError, match=f"rig.yaml.*{words}|{words}"):
        Calibration.from_file(written(tmp_path, text))
    with pytest.raises(CalibrationError, match=r"nowhere\.yaml"):
        Calibration.from_file(tmp_path / "nowhere.yaml")


def test_what_is_given_has_precedence_over_tf():
    extrinsics = Extrinsics({"lidar": np.eye(4)}, StaticTransforms(ROBOT))
    np.testing.assert_array_equal(extrinsics.camera_from("lidar", "camera", "lidar", 0), np.eye(4))
    found = extrinsics.camera_from("depth", "camera", "lidar", 0)
    np.testing.assert_allclose(found @ [1, 0, 0, 1], [2, -1, 2, 1], atol=1e-12)


def test_neither_given_nor_tf():
    with pytest.raises(CalibrationError, match="'ouster'.*'front'.*camera_from_lidar.*tf2_ros"):
        Extrinsics({}, None).camera_from("lidar", "front", "ouster", 0)


# --- a live tf2 buffer, whose interface is faked


class Buffer:
    """A transform that does not change (stamp 0), or one that moves by 1 m a second until 10 s."""

    def __init__(self, static: bool) -> None:
        self.static, self.x, self.until_ns = static, 0.0, 10_000_000_000
        self.known, self.cleared = {"lidar"}, 0
        self.waits = []

    def clear(self) -> None:
        self.cleared += 1

    def lookup_transform(self, target, source, time, timeout):
        self.waits.append(timeout.nanoseconds // 1_000_000)
        if source not in self.known:
            raise LookupError(f'"{source}" passed to lookupTransform does not exist.')
        at_ns = time.nanoseconds or self.until_ns
        if at_ns > self.until_ns and not self.static:
            raise RuntimeError("would require extrapolation into the future")
        at_s, still = divmod(0 if self.static else at_ns, 1_000_000_000)
        zero = {"x": 0.0, "y": 0.0, "z": 0.0}
        return Message(
            header=Message(stamp=Message(sec=at_s, nanosec=still), frame_id=target),
            child_frame_id=source,
            transform=Message(
                translation=Message(**zero | {"x": self.x + at_s + still * 1e-9}),
                rotation=Message(**zero, w=1.0),
            ),
        )

    def all_frames_as_yaml(self) -> str:
        return "lidar: {parent: 'camera', rate: 10.0}\n"


def test_static_transforms_are_never_too_late_and_a_new_one_counts_at_once():
    transforms = TfTransforms(buffer := Buffer(static=True))
    for stamp_ns in (0, 5_000_000_000, 99_000_000_000):
        np.testing.assert_array_equal(transforms.lookup("camera", "lidar", stamp_ns), np.eye(4))
    buffer.x = 2.0
    assert transforms.lookup("camera", "lidar", 0)[0, 3] == 2.0
    transforms.clear()
    assert buffer.cleared == 1


def test_a_frame_that_is_unknown_is_waited_for_once_until_it_is_told():
    transforms = TfTransforms(buffer := Buffer(static=True))
    for _ in range(3):
        with pytest.raises(CalibrationError, match="does not exist"):
            transforms.lookup("camera", "velodyne", 0)
    assert buffer.waits == [50, 0, 0]
    buffer.known.add("velodyne")
    transforms.lookup("camera", "velodyne", 0)
    buffer.known.clear()
    with pytest.raises(CalibrationError):
        transforms.lookup("camera", "velodyne", 0)
    assert buffer.waits[3:] == [0, 50]


def test_a_motion_that_is_told_no_more_is_waited_for_once_until_it_goes_on():
    transforms = TfTransforms(buffer := Buffer(static=False))
    for _ in range(3):
        with pytest.raises(CalibrationError, match="extrapolation"):
            transforms.lookup("camera", "lidar", 10_500_000_000)
    assert buffer.waits[1::2] == [50, 0, 0]
    buffer.until_ns = 10_400_000_000  # it goes on: the rest may be on its way
    with pytest.raises(CalibrationError, match="extrapolation"):
        transforms.lookup("camera", "lidar", 10_500_000_000)
    assert buffer.waits[-1] == 50
    assert transforms.lookup("camera", "lidar", 10_300_000_000)[0, 3] == pytest.approx(10.3)


def test_moving_transforms_are_asked_for_at_the_stamp():
    transforms = TfTransforms(Buffer(static=False))
    assert transforms.lookup("camera", "lidar", 2_500_000_000)[0, 3] == pytest.approx(2.5)
    assert transforms.lookup("camera", "lidar", 3_500_000_000)[0, 3] == pytest.approx(3.5)


def test_extrapolation_names_both_frames_and_the_difference():
    transforms = TfTransforms(Buffer(static=False))
    with pytest.raises(CalibrationError, match=r"'lidar' to 'camera'.*0\.250 s older.*clocks"):
        transforms.lookup("camera", "lidar", 10_250_000_000)


def test_an_unknown_frame_names_the_frames_of_tf():
    with pytest.raises(CalibrationError, match="'velodyne' to 'camera'.*knows camera, lidar"):
        TfTransforms(Buffer(static=True)).lookup("camera", "velodyne", 0)


# --- the real recording


def test_kitti_points_through_tf_static_and_camera_info(shared_data):
    rosbags = pytest.importorskip("rosbags.highlevel")
    tree, seen = StaticTransforms(), {}
    with rosbags.AnyReader([shared_data / "kitti_bag"]) as reader:
        for connection, _, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            seen.setdefault(connection.topic, message)
    tree.add(conversions.transforms(seen["/tf_static"]))
    camera = conversions.camera(seen["/camera/camera_info"])
    cloud = seen["/lidar/points"]
    transform = tree.lookup(
        conversions.frame_id(seen["/camera/image_raw"]), conversions.frame_id(cloud)
    )
    points = conversions.returns(cloud).astype(np.float64)
    _, inside = camera.project(points @ transform[:3, :3].T + transform[:3, 3])
    assert inside.sum() == 18_630
