"""The node's lifecycle in this process: every legal order, and nothing left behind."""

from __future__ import annotations

import gc
import importlib.util
import os
import random
import subprocess
import sys
import threading
import weakref

import pytest
import rclpy
import scene
from diagnostic_msgs.msg import DiagnosticArray
from fake_model import FakeModel, load_fake
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy
from rig import MS, S
from sensor_msgs.msg import Image, PointCloud2

from memorysam_ros import node_topics, session
from memorysam_ros.result import TOPICS
from memorysam_ros.segment_node import SUCCESS, SegmentNode
from memorysam_ros.status import Level

SETTINGS = {
    "event.source": "image",
    "checkpoint": "fake",
    "lidar.camera_from_lidar": [*scene.POSE[:3, 3].tolist(), 0.0, 0.0, 0.0, 1.0],
}
NEXT = {
    "unconfigured": {"configure": "inactive"},
    "inactive": {"activate": "active", "cleanup": "unconfigured"},
    "active": {"deactivate": "inactive"},
}


@pytest.fixture
def context():
    made = Context()
    rclpy.init(context=made)
    yield made
    rclpy.shutdown(context=made)


def node_of(context, load=load_fake, **settings) -> SegmentNode:
    values = SETTINGS | settings
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    return SegmentNode(load, context=context, parameter_overrides=overrides)


@pytest.fixture
def node(context):
    made = node_of(context)
    yield made
    made.destroy_node()


def entities(node) -> dict[str, int]:
    return {
        "subscriptions": len(list(node.subscriptions)),
        "publishers": len(list(node.publishers)),
        "timers": len(list(node.timers)),
        "services": len(list(node.services)),
        "parameters": len(node._parameters),
        "threads": threading.active_count(),
    }


class Robot:
    """Sends images to nodes of this process, and hears their labels."""

    def __init__(self, context) -> None:
        self.node = rclpy.create_node("robot", context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.received = []
        self._images = self.node.create_publisher(Image, "/segment_node/input/image", 10)
        self.node.create_subscription(
            Image, "/segment_node/output/labels", self.received.append, 10
        )
        self._stamp = S

    def spin_until(self, condition) -> None:
        for _ in range(2000):
            if condition():
                return
            self.executor.spin_once(timeout_sec=0.01)
        pytest.fail("timed out")

    def drive(self, node, images: int = 2) -> None:
        """Has the active node label some images."""
        self.spin_until(
            lambda: (
                self._images.get_subscription_count() == 1 and node._publications.subscribers() >= 1
            )
        )
        for _ in range(images):
            self._stamp += 100 * MS
            before = len(self.received)
            self._images.publish(scene.message_at("image", self._stamp))
            self.spin_until(lambda before=before: len(self.received) > before)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def robot(context):
    made = Robot(context)
    yield made
    made.close()


QUICK = {"matching.deadline": 0.01, "diagnostics_period": 0.1}


def test_fifty_transitions_in_any_legal_order_leave_nothing_behind(context, robot):
    """With messages while it is active, and shut down from whatever state."""
    rng = random.Random(5)
    node, state, usual, last_stop = None, "finalized", {}, -1
    for number in range(60):
        if state == "finalized":
            # Everything is there from the second round on: QoS overrides of a topic are declared
            # as parameters when it is first used, and stay.
            node, state, usual, last_stop = node_of(context, **QUICK), "unconfigured", {}, number
            robot.executor.add_node(node)
            for name in ("configure", "activate", "deactivate", "cleanup"):
                assert getattr(node, f"trigger_{name}")() == SUCCESS
        counted = entities(node)
        assert usual.setdefault(state, counted) == counted, state
        if state == "active":
            robot.drive(node)
            assert entities(node) == counted
        transition = rng.choice(sorted(NEXT[state]))
        if number - last_stop > 15:
            transition = "shutdown"
        assert getattr(node, f"trigger_{transition}")() == SUCCESS
        state = NEXT[state].get(transition, "finalized")
        if state == "finalized":
            assert threading.active_count() == usual["unconfigured"]["threads"]
            robot.executor.remove_node(node)
            node.destroy_node()
    if state != "finalized":
        node.destroy_node()
    assert set(usual) <= {"unconfigured", "inactive", "active"}


def test_what_there_is_in_each_state(node):
    counted = {"unconfigured": entities(node)}
    node.trigger_configure()
    counted["inactive"] = entities(node)
    node.trigger_activate()
    counted["active"] = entities(node)

    def more(state: str, than: str) -> dict[str, int]:
        return {k: n - counted[than][k] for k, n in counted[state].items() if k != "parameters"}

    listens = 2 if importlib.util.find_spec("tf2_ros") else 0
    names = len(TOPICS) + (importlib.util.find_spec("vision_msgs") is not None)
    nothing = dict.fromkeys(("subscriptions", "publishers", "timers", "services", "threads"), 0)
    assert more("inactive", than="unconfigured") == nothing | {
        "subscriptions": listens,
        "publishers": names,
    }
    # Four sensors and two camera_infos; the deadline; the inference thread.
    assert more("active", than="inactive") == nothing | {
        "subscriptions": 6,
        "timers": 1,
        "threads": 1,
    }


def test_with_tf_nothing_is_left_behind_either(distribution, repository):
    """Its buffer, listener and what they make of a node."""
    path = os.pathsep.join([*distribution, os.environ.get("PYTHONPATH", "")])
    program = "import importlib.util as u, sys; sys.exit(u.find_spec('tf2_ros') is None)"
    environment = os.environ | {"PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
        + ["-k", "fifty or each_state"],
        env=environment | {"ROS_DOMAIN_ID": str(int(os.environ["ROS_DOMAIN_ID"]) + 1)},
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("path", [[], ["configure"], ["configure", "activate"]])
def test_shutdown_from_every_state(context, path):
    node = node_of(context)
    threads = threading.active_count()
    for transition in path:
        assert getattr(node, f"trigger_{transition}")() == SUCCESS
    assert node.trigger_shutdown() == SUCCESS
    assert threading.active_count() == threads
    node.destroy_node()


def test_cleanup_lets_go_of_the_model(context):
    models = []

    def load(parameters):
        model = FakeModel()
        models.append(weakref.ref(model))
        return model, {}

    node = node_of(context, load)
    for _ in range(3):
        node.start()
        node.trigger_deactivate()
        node.trigger_cleanup()
    gc.collect()
    assert [model() for model in models] == [None, None, None]
    node.destroy_node()


@pytest.mark.parametrize("end", ["subscription", "publisher"])
def test_durability_may_be_overridden(context, robot, end):
    """Of a camera_info that was published once, before the node was there; and for recorders."""
    topic = {"subscription": "input/camera_info", "publisher": "output/color"}[end]
    name = f"/segment_node/{topic}"
    node = node_of(context, **{f"qos_overrides.{name}.{end}.durability": "transient_local"})
    assert node.start()
    told = getattr(node, f"get_{end}s_info_by_topic")
    robot.spin_until(lambda: told(name))
    (own,) = told(name)
    assert own.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    node.destroy_node()


def test_an_illegal_transition_by_number_is_refused_and_the_node_lives(context, robot, node, capfd):
    """As nav2's lifecycle manager asks, without a look at the state before."""
    robot.executor.add_node(node)
    client = robot.node.create_client(ChangeState, "/segment_node/change_state")
    assert client.wait_for_service(10)

    def ask(number: int) -> bool:
        future = client.call_async(ChangeState.Request(transition=Transition(id=number)))
        robot.executor.spin_until_future_complete(future, 10)
        return future.result().success

    assert not ask(Transition.TRANSITION_ACTIVATE)
    assert "transition number 3 is refused" in "".join(capfd.readouterr())
    assert ask(Transition.TRANSITION_CONFIGURE)
    assert not ask(Transition.TRANSITION_CONFIGURE)
    assert ask(Transition.TRANSITION_ACTIVATE) and node._session is not None
    robot.executor.remove_node(node)


def test_an_activation_that_fails_says_why_leaves_nothing_and_can_be_tried_again(
    context, monkeypatch, capfd
):
    """rclpy swallows what is raised there."""
    node = node_of(context)
    assert node.trigger_configure() == SUCCESS
    before = entities(node)
    create, calls = node.create_subscription, []

    def failing(*args, **options):
        calls.append(args)
        if len(calls) == 4:
            raise ValueError("qos_overrides: no such\n policy")
        return create(*args, **options)

    monkeypatch.setattr(node, "create_subscription", failing)
    assert node.trigger_activate() != SUCCESS
    assert node.why_not == "cannot activate: qos_overrides: no such policy"
    assert "cannot activate: qos_overrides: no such policy" in "".join(capfd.readouterr())
    after = entities(node)
    assert {**after, "parameters": before["parameters"]} == before
    assert node._unready().level == Level.ERROR
    assert node.trigger_activate() == SUCCESS
    assert node.why_not == ""
    node.destroy_node()


def test_a_model_that_hangs_does_not_keep_the_node_from_ending(context, robot, monkeypatch, capfd):
    monkeypatch.setattr(session, "PATIENCE_S", 0.2)
    hanging, go_on = threading.Event(), threading.Event()

    class Hanging(FakeModel):
        def segment(self, frames, size=None):
            if self.sets >= 2:
                hanging.set()
                go_on.wait(60)
            return super().segment(frames, size)

    node = node_of(context, lambda parameters: (Hanging(), {}), **QUICK)
    robot.executor.add_node(node)
    node.start()
    robot.drive(node)
    robot._images.publish(scene.message_at("image", 100 * S))
    robot.spin_until(hanging.is_set)
    assert node.trigger_deactivate() == TransitionCallbackReturn.ERROR
    assert "the model does not come back from its set" in "".join(capfd.readouterr())
    assert node._pipeline is None  # error processing leaves it unconfigured
    assert node._unready().level == Level.ERROR and "does not come back" in node._unready().message
    labels = len(robot.received)
    assert node.start()
    go_on.set()
    robot.drive(node)
    stamps = [m.header.stamp.sec for m in robot.received[labels:]]
    assert stamps and 100 not in stamps
    robot.executor.remove_node(node)
    node.destroy_node()


def test_while_the_model_is_loaded_the_node_says_so(context, robot):
    def load(parameters):
        for _ in range(100):  # what the executor does not do meanwhile
            if len(loading()) >= 3:
                return FakeModel(), {}
            robot.executor.spin_once(timeout_sec=0.1)
        pytest.fail("no diagnostics")

    def loading() -> list[str]:
        said = [s.message for m in statuses for s in m.status]
        return [text for text in said if text.startswith("loading fake for")]

    statuses = []
    robot.node.create_subscription(DiagnosticArray, "/diagnostics", statuses.append, 10)
    node = node_of(context, load, diagnostics_period=0.1)
    robot.spin_until(lambda: node._health._publisher.get_subscription_count())
    assert node.trigger_configure() == SUCCESS
    node.destroy_node()


def test_the_period_of_diagnostics_changes_with_configure(node):
    assert node._report_timer.timer_period_ns == S
    node.set_parameters([Parameter("diagnostics_period", value=0.25)])
    assert node.trigger_configure() == SUCCESS
    assert node._report_timer.timer_period_ns == S // 4
    assert len(list(node.timers)) == 1


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("lidar.policy", "perhaps", "accepted are optional, required, hold, unused"),
        ("event.source", "image", None),
        ("lidar.camera_from_lidar", [1.0, 2.0], "has 2 numbers; give 7"),
        ("lidar.tolerance", -1.0, "range"),  # rclpy's own words
        ("network_height", 512, None),  # of two that go together, one is set first
    ],
)
def test_a_parameter_refuses_what_it_cannot_be_set_to(node, name, value, says):
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert result.successful == (says is None), result.reason
    assert (says or "") in result.reason


def test_a_change_that_has_to_wait_for_the_next_configure_says_so(node, capfd):
    change = [Parameter("overlay_opacity", value=0.7)]
    told = "overlay_opacity will change at the next configure"
    assert node.set_parameters(change)[0].successful
    assert told not in "".join(capfd.readouterr())
    node.start()
    assert node.set_parameters(change)[0].successful
    assert told in "".join(capfd.readouterr())


def test_a_failed_configure_can_be_tried_again(context):
    attempts = []

    def load(parameters):
        attempts.append(parameters.precision)
        if len(attempts) == 1:
            raise ValueError("no such file")
        return FakeModel(), {}

    node = node_of(context, load)
    assert node.trigger_configure() != SUCCESS
    assert node.why_not == "cannot configure: no such file"
    node.set_parameters([Parameter("precision", value="fp32")])
    assert node.start()
    assert attempts == ["auto", "fp32"]
    node.destroy_node()


def test_the_label_space_cannot_be_set_by_others(node):
    node.start()
    (result,) = node.set_parameters([Parameter("label_space.name", value="mine")])
    assert not result.successful
    assert "read-only" in result.reason
    assert node.describe_parameter("label_space.name").read_only
    assert node.get_parameter("label_space.ignore").value == 255


def test_an_unknown_parameter_is_logged_with_the_known_ones(context, capfd):
    node = node_of(context, **{"lidr.offset": 0.1})
    node.destroy_node()
    assert "did you mean lidar.offset? Known are checkpoint" in "".join(capfd.readouterr())


def test_only_what_is_subscribed_is_made(context, robot, monkeypatch):
    made = []

    def counted(topic, make):
        def message(*args):
            made.append(topic)
            return make(*args)

        return message

    topics = {t: (kind, counted(t, make)) for t, (kind, make) in node_topics.TOPICS.items()}
    monkeypatch.setattr(node_topics, "TOPICS", topics)
    node = node_of(context, **{"matching.deadline": 0.01})
    node.start()
    robot.node.create_subscription(
        PointCloud2, "/segment_node/output/points", robot.received.append, 10
    )
    robot.executor.add_node(node)
    robot.spin_until(lambda: node._publications.subscribers() == 2)
    robot.drive(node, images=3)
    assert set(made) == {"output/labels", "output/points"}  # of which the points have no scan
    assert len(robot.received) == 3
    robot.executor.remove_node(node)
    node.destroy_node()
