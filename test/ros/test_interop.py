"""The contract of what interop hands out, whether it is the distribution's or a stand-in.

Put the genuine packages on PYTHONPATH and the same tests run against them.
"""

import subprocess
import sys

import pytest
from sensor_msgs.msg import Image

from memorysam_ros import interop
from memorysam_ros.conversions import Outputs, ros_messages, stamp_ns
from memorysam_ros.interop import ApproximateTimeSynchronizer, Subscriber

MS = 1_000_000


@pytest.fixture(autouse=True)
def _say_which(record_property):
    for name in ("Subscriber", "ApproximateTimeSynchronizer"):
        record_property(name, interop.origin(name))


class FakeNode:
    """Takes subscriptions, and delivers to them."""

    def __init__(self) -> None:
        self.asked, self.deliver = [], []

    def create_subscription(self, kind, topic, callback, qos_profile=None, **options):
        self.asked.append((kind, topic, qos_profile, options))
        self.deliver.append(callback)
        return "subscription"


def test_subscriber_calls_back_in_order_with_the_message_and_then_the_arguments():
    node, calls = FakeNode(), []
    subscriber = Subscriber(node, Image, "front/image", qos_profile=3, raw=False)
    subscriber.registerCallback(lambda *args: calls.append(("first", *args)), "extra")
    subscriber.registerCallback(lambda *args: calls.append(("second", *args)))
    node.deliver[0]("message")
    assert calls == [("first", "message", "extra"), ("second", "message")]
    assert node.asked == [(Image, "front/image", 3, {"raw": False})]
    assert subscriber.sub == "subscription"


def test_subscriber_keeps_ten_messages_unless_told_otherwise():
    node = FakeNode()
    Subscriber(node, Image, "image")
    assert node.asked[0][2] == 10


@pytest.fixture
def synchronised():
    """Delivers ``(topic, stamp in ms)`` to a synchroniser; what it made of that, in ms."""

    def run(arrivals, topics=2, queue_size=3, slop=0.05):
        node, out = FakeNode(), []
        filters = [Subscriber(node, Image, f"image{k}") for k in range(topics)]
        synchroniser = ApproximateTimeSynchronizer(filters, queue_size, slop)
        synchroniser.registerCallback(
            lambda *messages: out.append([stamp_ns(m) // MS for m in messages])
        )
        for topic, at in arrivals:
            header = Outputs(ros_messages).header(at * MS, "")
            node.deliver[topic](Image(header=header))
        return out

    return run


def test_synchroniser_hands_on_one_message_of_each_within_the_slop(synchronised):
    assert synchronised([(0, 1000), (1, 1040)]) == [[1000, 1040]]
    assert synchronised([(1, 1040), (0, 1000)]) == [[1000, 1040]]
    assert synchronised([(0, 1000), (1, 1060)]) == []
    assert synchronised([(0, 1000), (1, 1000), (2, 1001)], topics=3) == [[1000, 1000, 1001]]


def test_synchroniser_takes_the_nearest_and_each_message_once(synchronised):
    assert synchronised([(0, 1000), (0, 1030), (1, 1040), (1, 1045)]) == [
        [1030, 1040],
        [1000, 1045],
    ]


def test_synchroniser_keeps_the_newest_messages(synchronised):
    early = [(0, 1000 + k) for k in range(5)]
    assert synchronised([*early, (1, 1000)], queue_size=2) == [[1003, 1000]]


def test_synchroniser_goes_silent_with_its_slowest_sensor(synchronised):
    """Why the node has a matcher of its own."""
    assert synchronised([(k % 2, 1000 + 10 * k) for k in range(20)], topics=3) == []


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


PROBE = "from memorysam_ros import interop; print(interop.origin('Subscriber'), interop.Subscriber)"


def probe(folder, repository) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROBE],
        env={"PATH": "", "PYTHONPATH": f"{folder}:{repository}"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_distribution_comes_first(tmp_path, repository):
    (tmp_path / "message_filters.py").write_text("Subscriber = 'genuine'\n")
    assert probe(tmp_path, repository).stdout == "distribution genuine\n"


def test_a_package_that_does_not_import_is_replaced_and_reported(tmp_path, repository):
    # What messages built for NumPy 1 do under NumPy 2.
    (tmp_path / "message_filters.py").write_text("raise AttributeError('_ARRAY_API not found')\n")
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
