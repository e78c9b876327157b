"""`memorysam ready` waits for a node that takes its time, and not for one that is gone."""

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

import rclpy
import rig
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

ROOT = Path(__file__).resolve().parents[3]


class Slow(LifecycleNode):
    """Once told to, takes half a second for its model, in which it answers nobody."""

    def __init__(self, context: Context) -> None:
        super().__init__("slow_node", namespace="robot", context=context)
        self.told = threading.Event()
        self.create_timer(0.05, self.step)

    def on_configure(self, state):
        time.sleep(0.5)
        return TransitionCallbackReturn.SUCCESS

    def step(self):
        if self.told.is_set():
            self.told.clear()
            self.trigger_configure()
            self.trigger_activate()


@pytest.fixture
def slow():
    context = Context()
    rclpy.init(context=context)
    node = Slow(context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    yield node
    executor.shutdown()
    thread.join()
    node.destroy_node()
    rclpy.shutdown(context=context)


@contextmanager
def waiting(name: str):
    """The command, which has found the node."""
    process = subprocess.Popen(
        [sys.executable, "-m", "memorysam_core.cli", "ready", name],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout.readline() == f"waiting until {name} is active\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_it_returns_when_the_node_is_active_and_not_before(slow):
    with waiting("/robot/slow_node") as process:
        time.sleep(0.8)
        assert process.poll() is None
        slow.told.set()
        assert process.wait(60) == 0
        assert slow._state_machine.current_state[1] == "active"


def test_a_node_that_is_gone_is_not_waited_for(tmp_path):
    node = rig.NodeProcess(tmp_path, autostart=False)
    try:
        with waiting("/segment_node") as process:
            assert process.poll() is None
            node.stop()
            assert process.wait(60) == 2
            assert "/segment_node ended before it was active" in process.stderr.read()
    finally:
        node.stop()
