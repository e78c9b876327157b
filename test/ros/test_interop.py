"""The contract of what interop hands out, whether it is the distribution's or a stand-in.

Put the genuine packages on PYTHONPATH and the same tests run against them.
"""

import subprocess
import sys

import numpy as np
import pytest
import sensor_messages as sent
from sensor_msgs.msg import Image

from memorysam_ros import interop
from memorysam_ros.conversions import ros_messages
from memorysam_ros.interop import CvBridge, CvBridgeError, SimpleFilter, Subscriber, read_points

rng = np.random.default_rng(11)
COLOURS = rng.integers(0, 256, (5, 7, 3), np.uint8)


@pytest.fixture(autouse=True)
def _say_which(record_property):
    for name in ("CvBridge", "read_points", "Subscriber"):
        record_property(name, interop.origin(name))


# --- cv_bridge


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_imgmsg_to_cv2_hands_colours_over_as_they_are(encoding, padding):
    message = sent.image(ros_messages, COLOURS, encoding, padding=padding * 3)
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message), COLOURS)
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message, encoding), COLOURS)


@pytest.mark.parametrize(
    ("encoding", "dtype"),
    [("mono8", np.uint8), ("mono16", np.uint16), ("16UC1", np.uint16), ("32FC1", np.float32)],
)
def test_imgmsg_to_cv2_of_one_channel_has_two_dimensions(encoding, dtype):
    values = (COLOURS[:, :, 0] * 3.0).astype(dtype)
    message = sent.image(ros_messages, values, encoding, padding=4)
    array = CvBridge().imgmsg_to_cv2(message, "passthrough")
    assert array.dtype == dtype and array.shape == (5, 7)
    np.testing.assert_array_equal(array, values)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
def test_imgmsg_to_cv2_swaps_channels(encoding):
    order = [2, 1, 0] if encoding.startswith("bgr") else [0, 1, 2]
    message = sent.image(ros_messages, COLOURS[:, :, [*order, 0][: len(encoding) - 1]], encoding)
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message, "rgb8"), COLOURS)
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message, "bgr8"), COLOURS[:, :, ::-1])


def test_imgmsg_to_cv2_between_grey_and_colour():
    grey = CvBridge().imgmsg_to_cv2(sent.image(ros_messages, COLOURS, "rgb8"), "mono8")
    luma = COLOURS @ np.array([0.299, 0.587, 0.114])
    assert grey.shape == (5, 7) and np.abs(grey - luma).max() <= 1
    mono = sent.image(ros_messages, COLOURS[:, :, 0], "mono8")
    colour = CvBridge().imgmsg_to_cv2(mono, "bgr8")
    np.testing.assert_array_equal(colour, COLOURS[:, :, :1].repeat(3, axis=2))


@pytest.mark.parametrize(("encoding", "wanted"), [("mono8", "banana"), ("banana", "bgr8")])
def test_imgmsg_to_cv2_refuses_what_it_cannot_do(encoding, wanted):
    message = sent.image(ros_messages, COLOURS[:, :, 0], encoding)
    with pytest.raises(CvBridgeError):
        CvBridge().imgmsg_to_cv2(message, wanted)


@pytest.mark.parametrize(
    ("shape", "dtype", "encoding", "named"),
    [
        ((5, 7, 3), np.uint8, "bgr8", "bgr8"),
        ((5, 7, 3), np.uint8, "passthrough", "8UC3"),
        ((5, 7), np.uint8, "mono8", "mono8"),
        ((5, 7), np.uint16, "passthrough", "16UC1"),
        ((5, 7), np.uint16, "mono16", "mono16"),
        ((5, 7), np.float32, "32FC1", "32FC1"),
    ],
)
def test_cv2_to_imgmsg(shape, dtype, encoding, named):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    message = CvBridge().cv2_to_imgmsg(array, encoding)
    assert isinstance(message, Image)
    assert (message.height, message.width, message.encoding) == (5, 7, named)
    assert message.step == array.nbytes // 5
    assert bytes(message.data) == array.tobytes()
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message), array)


def test_cv2_to_imgmsg_takes_the_header():
    header = ros_messages("std_msgs/msg/Header", frame_id="front")
    assert CvBridge().cv2_to_imgmsg(COLOURS, "rgb8", header=header).header.frame_id == "front"
    assert CvBridge().cv2_to_imgmsg(COLOURS, "rgb8").header.frame_id == ""


def test_cv2_to_imgmsg_refuses_an_encoding_that_does_not_fit():
    with pytest.raises(CvBridgeError):
        CvBridge().cv2_to_imgmsg(COLOURS, "mono8")
    with pytest.raises(CvBridgeError):
        CvBridge().cv2_to_imgmsg(COLOURS[:, :, 0], "16UC1")
    with pytest.raises(TypeError):
        CvBridge().cv2_to_imgmsg(COLOURS.tolist(), "rgb8")


# --- sensor_msgs_py.point_cloud2


def scan(count: int = 6) -> np.ndarray:
    points = np.zeros(count, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("ring", "<u2")])
    for name in points.dtype.names:
        points[name] = rng.integers(1, 99, count)
    return points


def test_read_points_gives_all_fields_by_name():
    points = scan()
    read = read_points(sent.cloud(ros_messages, points))
    assert read.shape == (6,) and read.dtype.names == ("x", "y", "z", "ring")
    for name in points.dtype.names:
        np.testing.assert_array_equal(read[name], points[name])


def test_read_points_gives_the_fields_that_are_asked_for_in_their_order():
    points = scan()
    read = read_points(sent.cloud(ros_messages, points), field_names=("z", "x"))
    assert read.dtype.names == ("z", "x")
    np.testing.assert_array_equal(read["z"], points["z"])


def test_read_points_skips_nan_only_where_it_was_asked_to_and_the_cloud_is_not_dense():
    points = scan()
    points["y"][2] = np.nan
    message = sent.cloud(ros_messages, points)
    assert len(read_points(message)) == 6
    assert (
        read_points(message, skip_nans=True)["ring"].tolist()
        == points["ring"][[0, 1, 3, 4, 5]].tolist()
    )
    assert len(read_points(message, field_names=["x", "z"], skip_nans=True)) == 6
    dense = sent.cloud(ros_messages, points, is_dense=True)
    assert len(read_points(dense, skip_nans=True)) == 6


def test_read_points_of_a_big_endian_and_of_an_empty_cloud():
    points = scan()
    swapped = points.astype(points.dtype.newbyteorder(">"))
    read = read_points(sent.cloud(ros_messages, swapped), field_names=["x", "ring"])
    assert read["x"].astype(float).tolist() == points["x"].tolist()
    assert read["ring"].astype(int).tolist() == points["ring"].tolist()
    assert len(read_points(sent.cloud(ros_messages, scan(0)))) == 0


def test_read_points_refuses_an_unknown_field():
    with pytest.raises(AssertionError):
        read_points(sent.cloud(ros_messages, scan()), field_names=["intensity"])


# --- message_filters


def test_simple_filter_calls_back_in_order_with_the_messages_and_then_the_arguments():
    calls = []
    source = SimpleFilter()
    source.registerCallback(lambda *args: calls.append(("first", *args)), "extra")
    source.registerCallback(lambda *args: calls.append(("second", *args)))
    source.signalMessage(1, 2)
    assert calls == [("first", 1, 2, "extra"), ("second", 1, 2)]


class FakeNode:
    def create_subscription(self, kind, topic, callback, qos_profile=None, **options):
        self.asked = (kind, topic, qos_profile, options)
        self.deliver = callback
        return "subscription"


def test_subscriber_signals_what_its_subscription_receives():
    node, received = FakeNode(), []
    subscriber = Subscriber(node, Image, "front/image", qos_profile=3, raw=False)
    subscriber.registerCallback(received.append)
    node.deliver("message")
    assert received == ["message"]
    assert node.asked == (Image, "front/image", 3, {"raw": False})
    assert subscriber.getTopic() == "front/image"
    assert subscriber.sub == "subscription"


def test_subscriber_keeps_ten_messages_unless_told_otherwise():
    node = FakeNode()
    Subscriber(node, Image, "image")
    assert node.asked[2] == 10


# --- what is optional


def test_missing_packages_are_reported_with_what_to_install():
    for name in interop.OPTIONAL:
        lines = interop.missing(name)
        assert len(lines) == (interop.optional(name) is None)
        for line in lines:
            assert f"Install ros-<distro>-{name.replace('_', '-')}" in line
    with pytest.raises(ValueError, match="known are tf2_ros"):
        interop.optional("tf3_ros")


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="Bridge"):
        interop.Bridge


PROBE = "from memorysam_ros import interop; print(interop.origin('CvBridge'), interop.CvBridge)"


def probe(folder, repository) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROBE],
        env={"PATH": "", "PYTHONPATH": f"{folder}:{repository}"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_distribution_comes_first(tmp_path, repository):
    (tmp_path / "cv_bridge.py").write_text("CvBridge = 'genuine'\n")
    assert probe(tmp_path, repository).stdout == "distribution genuine\n"


def test_a_package_that_does_not_import_is_replaced_and_reported(tmp_path, repository):
    # What a cv_bridge built for NumPy 1 does under NumPy 2.
    (tmp_path / "cv_bridge.py").write_text("raise AttributeError('_ARRAY_API not found')\n")
    result = probe(tmp_path, repository)
    assert result.stdout.startswith("stand-in <class"), result.stderr
    assert "_ARRAY_API not found" in result.stderr and "numpy<2" in result.stderr


def test_replay_needs_no_rclpy(repository):
    code = (
        "import sys; import memorysam_ros.conversions, memorysam_ros.calibration, "
        "memorysam_ros.interop; print('rclpy' in sys.modules, 'cv2' in sys.modules)"
    )
    environment = {"PATH": "", "PYTHONPATH": str(repository)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.stdout == "False False\n", result.stderr
