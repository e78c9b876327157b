"""A robot for tests: publishes sensors, runs the node in another process, keeps its outputs."""

from __future__ import annotations

import heapq
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from scene import POSE, camera_info, message_at
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from memorysam_ros.conversions import stamp_ns

HERE = Path(__file__).parent
S = 1_000_000_000
MS = 1_000_000
TOPICS = {"image": Image, "depth": Image, "event": Image, "lidar": PointCloud2}
NAMES = {"image": "image", "depth": "depth", "event": "events", "lidar": "points"}


@dataclass
class Sensor:
    """When a sensor measures, and how much later its message is there. Seconds."""

    rate: float
    phase: float = 0.0
    latency: float = 0.0
    silent: tuple[float, float] = (0.0, 0.0)
    """From when to when, since the start, it sends nothing."""
    change: Callable[[float, object], object] = lambda t, message: message
    """What happens to a message, given the time since the start; None loses it."""


class NodeProcess:
    """segment_node in a process of its own, with the fake model unless a checkpoint is given."""

    def __init__(
        self, folder: Path, checkpoint: str = "", environment=None, packages=(), **parameters
    ) -> None:
        """``packages``: folders in which the node finds more Python packages."""
        values = {
            "autostart": True,
            "checkpoint": checkpoint,
            "diagnostics_period": 0.2,
            "matching.deadline": 0.1,
            "matching.silent_after": 1.0,
            "event.source": "image",
            "lidar.camera_from_lidar": [*POSE[:3, 3].tolist(), 0.0, 0.0, 0.0, 1.0],
            **parameters,
        }
        words = ["--ros-args", "--log-level", "segment_node:=info"]
        for name, value in values.items():
            words += ["-p", f"{name}:={json.dumps(value)}"]
        program = ["-m", "memorysam_core.cli", "node"] if checkpoint else [HERE / "fake_model.py"]
        self._log = folder / "node.log"
        path = os.pathsep.join(map(str, [HERE.parents[1], HERE, *packages]))
        environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", **(environment or {})}
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()


class Rig:
    """The robot's side of the graph."""

    def __init__(self, reliability=ReliabilityPolicy.BEST_EFFORT, **kinds) -> None:
        """``kinds``: message types other than those of :data:`TOPICS`."""
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("robot", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        qos = QoSProfile(depth=10, reliability=reliability)
        self.publishers = {
            name: self.node.create_publisher(kind, f"/segment_node/input/{NAMES[name]}", qos)
            for name, kind in (TOPICS | kinds).items()
        }
        self.info_publisher = self.node.create_publisher(
            CameraInfo, "/segment_node/input/camera_info", qos
        )
        self.received: dict[str, list] = defaultdict(list)
        self._subscriptions: dict[str, object] = {}
        self.sent: dict[str, list[int]] = defaultdict(list)
        self.unheard: dict[str, int] = {}
        """Readings of the last :meth:`label_all` that DDS lost before the node heard them."""
        self.subscribe("/diagnostics", DiagnosticArray)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()

    def subscribe(self, topic: str, kind, qos=100) -> None:
        self._subscriptions[topic] = self.node.create_subscription(
            kind, topic, self.received[topic].append, qos
        )

    def subscribe_output(self, topic: str, kind=Image) -> None:
        self.subscribe(f"/segment_node/{topic}", kind)

    def unsubscribe_output(self, topic: str) -> None:
        subscription = self._subscriptions.pop(f"/segment_node/{topic}")
        self.destroy(self.node.destroy_subscription, subscription)

    def destroy(self, method: Callable[[object], object], entity) -> None:
        """By that method, in the executor's thread: rclpy's executor dies of an entity that ends
        while it is about to wait for it.
        """
        task = self._executor.create_task(method, entity)
        self.wait(task.done, f"the end of {entity}")

    def outputs(self, topic: str = "output/labels") -> list:
        """What came of the images sent since :meth:`clear`, and not of earlier ones."""
        first = self.sent["image"][0] if self.sent["image"] else 0
        return [m for m in self.received[f"/segment_node/{topic}"] if stamp_ns(m) >= first]

    def stamps(self, topic: str = "output/labels") -> list[int]:
        return [stamp_ns(m) for m in self.outputs(topic)]

    def status(self, name: str = "segmentation"):
        """The last diagnostic of that name since :meth:`clear`, once there is one."""
        return self.wait(lambda: self._status(name), f"a diagnostic {name}")

    def _status(self, name: str = "segmentation"):
        for array in reversed(self.received["/diagnostics"]):
            for status in array.status:
                if status.name == f"segment_node: {name}":
                    return status
        return None

    def seen(self) -> dict[str, str]:
        """Every value of the diagnostics since :meth:`clear`, the last of each."""
        arrays = self.received["/diagnostics"]
        return {v.key: v.value for a in arrays for s in a.status for v in s.values}

    def count(self) -> dict[str, int]:
        """How many images the node has heard by now, since it was activated, and how many sets it
        had no time for, or failed in its model.
        """
        self._wait_for_report()
        return {
            "heard": int(self.values("sensor image")["messages"]),
            "superseded": self.told_total("sets superseded"),
            "failed": self.told_total("sets failed"),
        }

    def _heard(self) -> dict[str, int]:
        """How many messages of every sensor the node has heard, by its last report."""
        return {name: int(self.values(f"sensor {name}")["messages"]) for name in self.publishers}

    def told_total(self, what: str) -> int:
        """How often something happened to sets, by the last report, such as ``sets superseded``."""
        values = self.values()
        found = [values[key] for key in values if key.startswith(what)]
        return sum(int(value.split()[-3]) for value in found)  # 3 (10 %), 7 in all

    def due(self, before: dict[str, int]) -> int:
        """How many images must have been labelled since then: those heard, less the superseded."""
        now = self.count()
        found = {key: now[key] - before[key] for key in now}
        due = found["heard"] - found["superseded"] - found["failed"]
        assert due > len(self.sent["image"]) / 3, f"the machine is too busy to tell: {found}"
        return due

    def label_all(self, sensors: dict[str, Sensor], seconds: float, start_ns=None) -> None:
        """Drives until nine tenths of all images that are due are labelled, once, in order, and
        nothing else is.
        """
        self.settle()
        before, heard = self.count(), self._heard()
        self.clear()
        self.drive(sensors, seconds, start_ns)
        self.settle()
        self.wait(lambda: len(self.stamps()) >= 0.9 * self.due(before), self.seen)
        self.settle()
        self.unheard = {
            name: len(self.sent[name]) - (total - heard[name])
            for name, total in self._heard().items()
        }
        received = self.stamps()
        assert received == sorted(set(received))
        assert set(received) <= set(self.sent["image"])

    def _wait_for_report(self) -> None:
        """Until a report that was made after now."""
        arrays = self.received["/diagnostics"]
        seen = len(arrays)  # the next one may have been on its way
        self.wait(lambda: len(arrays) >= seen + 2, "diagnostics")

    def told(self, name: str, says: str, level: bytes) -> list[dict]:
        """The reports since :meth:`clear` in which a status says so: all statuses by name."""
        reports = [
            {s.name.removeprefix("segment_node: "): s for s in array.status}
            for array in self.received["/diagnostics"]
        ]
        return [
            r for r in reports if name in r and r[name].level == level and says in r[name].message
        ]

    def values(self, name: str = "segmentation") -> dict[str, str]:
        """The values of the last diagnostic of that name."""
        return {v.key: v.value for v in self.status(name).values}

    def wait(self, condition, what, seconds: float = 60.0):
        """Until the condition holds; ``what``, or what it returns, is told if it never does."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > end:
                pytest.fail(f"timed out: {what() if callable(what) else what}")
            time.sleep(0.005)
        return found

    def wait_for_node(self) -> None:
        """Until every topic of the node that is in use is matched on both sides."""
        topics = [t for t in self._subscriptions if t.startswith("/segment_node")]
        self.wait(
            lambda: (
                all(p.get_subscription_count() for p in self.publishers.values())
                and self.info_publisher.get_subscription_count()
                and all(self.node.count_publishers(t) for t in topics)
            ),
            "the node's topics",
            seconds=60.0,
        )
        if topics:  # until the node knows that somebody subscribes
            self.wait(lambda: self.probe(), "the node noticing its subscribers")

    def probe(self) -> bool:
        status = self._status()
        if status is None or "waiting for its lifecycle" in status.message:
            return False
        facts = {v.key: v.value for v in status.values}
        return int(facts.get("subscribers", "0")) >= len(
            [t for t in self._subscriptions if t.startswith("/segment_node")]
        )

    def send(self, sensor: str, stamp_ns: int, message=None) -> None:
        self.sent[sensor].append(stamp_ns)
        self.publishers[sensor].publish(message or message_at(sensor, stamp_ns))

    def deliver(self, sensor: str, stamp_ns: int, message=None) -> None:
        """Sends, and waits until the node has it: what is sent next arrives later.

        Messages of two topics sent one after the other may be taken in either order.
        """
        self._wait_for_report()

        def arrived() -> int:
            return int(self.values(f"sensor {sensor}")["messages"])

        before = arrived()
        self.send(sensor, stamp_ns, message)
        self.wait(lambda: arrived() > before, f"the node hearing the {sensor}")

    def send_info(self, info=None) -> None:
        self.info_publisher.publish(info or camera_info())

    def drive(self, sensors: dict[str, Sensor], seconds: float, start_ns: int | None = None):
        """Publishes in real time what arrives until then; stamps begin now, or at ``start_ns``."""
        begin = time.monotonic()
        zero_ns = time.time_ns() if start_ns is None else start_ns
        queue = []
        for name, sensor in sensors.items():
            for k in range(int(seconds * sensor.rate)):
                t = sensor.phase + k / sensor.rate
                arrives = t + sensor.latency < seconds + 0.2
                if arrives and not sensor.silent[0] <= t < sensor.silent[1]:
                    heapq.heappush(queue, (t + sensor.latency, name, t))
        while queue:
            due, name, t = heapq.heappop(queue)
            stamp = zero_ns + int(t * 1e6) * 1000
            message = sensors[name].change(t, message_at(name, stamp))
            time.sleep(max(0.0, begin + due - time.monotonic()))
            if message is not None:
                self.send(name, stamp_ns(message), message)

    def reconfigure(self, values: dict[str, object]) -> None:
        """Takes the node down to unconfigured and up again with other parameters."""
        self._transit("deactivate", "cleanup")
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        request = SetParameters.Request(parameters=parameters)
        results = self._call(SetParameters, "set_parameters", request).results
        assert all(result.successful for result in results), results
        self._transit("configure", "activate")
        self.clear()
        self.wait_for_node()
        self.send_info()

    def _transit(self, *labels: str) -> None:
        for label in labels:
            request = ChangeState.Request(transition=Transition(label=label))
            assert self._call(ChangeState, "change_state", request).success, label

    def _call(self, kind, name: str, request):
        client = self.node.create_client(kind, f"/segment_node/{name}")
        self.wait(client.service_is_ready, name)
        future = client.call_async(request)
        self.wait(future.done, name)
        self.destroy(self.node.destroy_client, client)
        return future.result()

    def restart(self, sensor: str) -> None:
        """The driver of a sensor ends and another one starts."""
        old = self.publishers[sensor]
        new = self.node.create_publisher(TOPICS[sensor], old.topic_name, old.qos_profile)
        self.publishers[sensor] = new
        self.destroy(self.node.destroy_publisher, old)
        self.wait(new.get_subscription_count, f"the node finding the new {sensor}")

    def clear(self) -> None:
        """Forgets what was sent and received so far."""
        self.sent.clear()
        for messages in self.received.values():
            messages.clear()

    def settle(self, quiet_s: float = 0.5) -> None:
        """Until no more labels come of what was sent."""
        count, since = -1, 0.0
        while count != len(self.outputs()) or time.monotonic() - since < quiet_s:
            if count != len(self.outputs()):
                count, since = len(self.outputs()), time.monotonic()
            time.sleep(0.01)

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
