"""What a live node says of a bag, heard on the bag's clock."""

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")

from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.time import Time
from sensor_msgs.msg import Image

from memorysam_ros.bags.listener import Listener


@pytest.fixture
def node():
    context = Context()
    context.init()
    simulated = Parameter("use_sim_time", value=True)
    made = Node("listens", context=context, parameter_overrides=[simulated])
    yield made
    made.destroy_node()
    context.shutdown()


def test_when_labels_came_is_unknown_until_the_clock_has_been_heard(node):
    heard = []
    accountant = SimpleNamespace(
        hear_labels=lambda _, heard_ns: heard.append(heard_ns), hear_frame=lambda *_: None
    )
    listener = Listener(node, "/segment_node", accountant)
    listener._on_labels(Image())
    clock = node.get_clock()
    clock.set_ros_time_override(Time(seconds=5, clock_type=clock.clock_type))
    listener._on_labels(Image())
    node.set_parameters([Parameter("use_sim_time", value=False)])
    listener._on_labels(Image())
    assert heard == [None, 5_000_000_000, None]
