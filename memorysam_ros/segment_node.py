"""``segment_node``: the wiring between ROS 2 topics and the pipeline.

A lifecycle node of one process with one executor thread, which matches messages in time, and one
inference thread, which labels the newest set and publishes.
"""

from __future__ import annotations

import dataclasses
import re
import signal
import time
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger

from memorysam_ros import interop, ros_parameters
from memorysam_ros.calibration import TfTransforms, Transforms
from memorysam_ros.conversions import ConversionError, stamp_ns
from memorysam_ros.dds import use_profile
from memorysam_ros.diagnostics import Diagnostics, Level, StateLog, Status
from memorysam_ros.matching import MatchedSet
from memorysam_ros.model import Load, device_memory, free_device_memory, load_model
from memorysam_ros.node_topics import Inputs, Publications, diagnostic_array
from memorysam_ros.parameters import FROM_TF, Parameters, explain_unknown
from memorysam_ros.pipeline import Pipeline, SegmenterLike, UnusableSet
from memorysam_ros.worker import Worker

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
NEVER_S = 3600.0
REPORTS_SHOWN = 10
"""Diagnostics show what happened since so many reports ago."""


class SegmentNode(LifecycleNode):
    """Labels what the sensors see; see ``docs/node.md`` for topics, parameters and behaviour."""

    def __init__(self, load: Load = load_model, **options: Any) -> None:
        super().__init__("segment_node", **options)
        self._load = load
        ros_parameters.declare(self)
        self._label_parameters = ros_parameters.LabelSpaceParameters(self)
        self.add_on_set_parameters_callback(self._refuse_label_parameters)
        for name in ros_parameters.unknown_overrides(self):
            self.get_logger().error(explain_unknown(name))
        self._log = StateLog()
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        period = self.get_parameter("diagnostics_period").value
        self._report_timer = self.create_timer(period, self._report, clock=self._steady)
        self._deadline_timer = self.create_timer(NEVER_S, self._on_deadline)
        self._deadline_timer.cancel()
        self._pipeline: Pipeline | None = None
        self._publications: Publications | None = None
        self._inputs: Inputs | None = None
        self._worker: Worker[tuple[MatchedSet, int]] | None = None
        self._tf: Any = None
        self._facts: dict[str, str] = {}
        self._diagnostics = Diagnostics({}, time.monotonic_ns())
        self._flushes = 0
        self.why_not = ""
        """Why the last ``configure`` failed."""

    def start(self) -> bool:
        """Configures and activates without a lifecycle manager; whether both succeeded."""
        return self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Reads the parameters, loads and warms the model, makes the publishers."""
        try:
            parameters = self._available(ros_parameters.read(self))
            segmenter = self._loaded(parameters)
            self._pipeline = Pipeline(segmenter, parameters, self._transforms(parameters))
            for name in self._pipeline.unfed:
                self.get_logger().warning(
                    f"nothing feeds the checkpoint's {name}; it is left out of every set"
                )
            if not self._pipeline.sensors:
                raise ValueError("all sensors of this checkpoint are unused; give one a policy")
            contract = segmenter.contract
            self._publications = Publications(self, parameters, contract.label_space)
            self._label_parameters.publish(contract.label_space)
        except Exception as error:  # rclpy would swallow it
            self.why_not = " ".join(str(error).split()) or type(error).__name__
            self.get_logger().fatal(f"cannot configure: {self.why_not}")
            self._release()
            return FAILURE
        self.why_not = ""
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts the inference thread and subscribes."""
        super().on_activate(state)
        assert self._pipeline is not None
        assert self._publications is not None
        parameters = self._pipeline.parameters
        required = {s: getattr(parameters, s).policy == "required" for s in self._pipeline.sensors}
        silent_ns = self._pipeline.matcher.rules.silent_after_ns
        window_ns = round(REPORTS_SHOWN * parameters.diagnostics_period * 1e9)
        began_ns = time.monotonic_ns()
        self._diagnostics = Diagnostics(required, began_ns, silent_ns, window_ns)
        self._worker = Worker(self._label, self._failed)
        sensors = self._pipeline.sensors
        self._inputs = Inputs(self, parameters, sensors, self._on_message, self._on_camera_info)
        now_ns = self.get_clock().now().nanoseconds
        self._publications.publish_label_info(now_ns, self._pipeline.readings.camera_frame)
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribes and ends the inference thread."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the model and its device memory."""
        self._release()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lets go of everything, from whatever state."""
        self._stop()
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts over, unconfigured."""
        self._stop()
        self._release()
        return SUCCESS

    def destroy_node(self) -> None:
        """Ends the inference thread before anything that it uses goes away."""
        self._stop()
        self._release()
        super().destroy_node()

    def _available(self, parameters: Parameters) -> Parameters:
        """Parameters without what this machine cannot do; says once what is off."""
        event = parameters.event
        uses = ["vision_msgs"]
        if parameters.lidar.policy != "unused" and parameters.lidar.camera_from_lidar == FROM_TF:
            uses.append("tf2_ros")
        if event.policy != "unused" and event.source == "packets":
            uses.append("event_camera_msgs")
        for line in interop.missing(*uses):
            self.get_logger().warning(line)
        if "event_camera_msgs" in uses and interop.optional("event_camera_msgs") is None:
            if event.policy == "required":
                raise ValueError(
                    "event.policy is required and event.source is packets, but event_camera_msgs "
                    "is not installed; set event.source to image"
                )
            return dataclasses.replace(
                parameters, event=dataclasses.replace(event, policy="unused")
            )
        return parameters

    def _loaded(self, parameters: Parameters) -> SegmenterLike:
        begin = time.monotonic()
        segmenter, self._facts = self._load(parameters)
        facts = "; ".join(f"{key} {value}" for key, value in self._facts.items())
        self.get_logger().info(f"model ready in {time.monotonic() - begin:.1f} s: {facts}")
        return segmenter

    def _transforms(self, parameters: Parameters) -> Transforms | None:
        tf2_ros = interop.optional("tf2_ros")
        if tf2_ros is None:
            return None
        buffer = tf2_ros.Buffer(node=self)
        self._tf = tf2_ros.TransformListener(buffer, self)
        return TfTransforms(buffer, parameters.tf_timeout)

    def _stop(self) -> None:
        self._deadline_timer.cancel()
        if self._inputs is not None:
            self._inputs.destroy()
            self._inputs = None
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        if self._pipeline is not None:
            self._pipeline.matcher.flush("deactivated")

    def _release(self) -> None:
        if self._publications is not None:
            self._publications.destroy()
            self._publications = None
        if self._tf is not None:
            self._tf.unregister()
            self._tf = None
        self._label_parameters.withdraw()
        self._pipeline = None
        self._facts = {}
        free_device_memory()

    # Executor thread: messages to sets

    def _on_camera_info(self, sensor: str, message: Any) -> None:
        assert self._pipeline is not None
        self._pipeline.add_camera_info(sensor, message)

    def _on_message(self, sensor: str, message: Any) -> None:
        assert self._pipeline is not None
        assert self._publications is not None
        now_ns = self.get_clock().now().nanoseconds
        health = self._diagnostics.sensors[sensor]
        health.arrived(stamp_ns(message), now_ns, time.monotonic_ns())
        if not self._publications.wanted():
            return
        try:
            self._hand_over(self._pipeline.add(sensor, message, now_ns))
        except ConversionError as error:
            self._trouble(sensor, str(error))

    def _on_deadline(self) -> None:
        assert self._pipeline is not None
        self._hand_over(self._pipeline.tick(self.get_clock().now().nanoseconds))

    def _hand_over(self, sets: list[MatchedSet]) -> None:
        assert self._pipeline is not None
        assert self._worker is not None
        matcher = self._pipeline.matcher
        if matcher.flushes != self._flushes:
            self._flushes = matcher.flushes
            self._worker.clear()
        for matched in sets:
            if self._worker.put((matched, time.monotonic_ns())) is not None:
                self._diagnostics.counts["sets superseded"] += 1
        due_ns = matcher.next_deadline_ns
        if due_ns is None:
            self._deadline_timer.cancel()
        else:
            left_ns = due_ns - self.get_clock().now().nanoseconds
            self._deadline_timer.timer_period_ns = max(left_ns, 1)
            self._deadline_timer.reset()

    # Inference thread: sets to labels

    def _label(self, item: tuple[MatchedSet, int]) -> None:
        assert self._pipeline is not None
        assert self._publications is not None
        matched, handed_ns = item
        begin_ns = time.monotonic_ns()
        result = self._pipeline.process(matched)
        computed_ns = time.monotonic_ns()
        self._publications.publish(result)
        done_ns = time.monotonic_ns()
        for sensor in matched.readings:
            if sensor in result.troubles:
                self._trouble(sensor, result.troubles[sensor])
            else:
                self._diagnostics.sensors[sensor].worked()
        self._diagnostics.blocked = ""
        self._diagnostics.counts["sets published"] += 1
        stages = self._diagnostics.stages
        stages.add("matching", matched.closed_ns - matched.opened_ns)
        stages.add("queue", begin_ns - handed_ns)
        for stage, duration_ns in result.times_ns.items():
            stages.add(stage, duration_ns)
        stages.add("publish", done_ns - computed_ns)
        now_ns = self.get_clock().now().nanoseconds
        stages.add("camera to labels", now_ns - matched.stamp_ns)

    def _failed(self, item: tuple[MatchedSet, int], error: Exception) -> None:
        matched, _ = item
        if isinstance(error, UnusableSet):
            self._diagnostics.counts["sets dropped: unusable"] += 1
            self._diagnostics.blocked = f"no labels: {error}"
            return
        told = f"{type(error).__name__}: {' '.join(str(error).split())}"
        self._diagnostics.counts[f"sets failed: {type(error).__name__}"] += 1
        if self._log.enter("model", _without_numbers(told), time.monotonic_ns()):
            stamp_s = matched.stamp_ns / 1e9
            sensors = ", ".join(matched.readings)
            self.get_logger().error(
                f"the model failed on the set of {stamp_s:.3f} s ({sensors}): {told}"
            )

    # Health

    def _trouble(self, sensor: str, text: str) -> None:
        self._diagnostics.sensors[sensor].failed(text)
        key = f"sensor {sensor}"
        if self._log.enter(key, _without_numbers(text), time.monotonic_ns()):
            self.get_logger().error(f"{key}: {text}")

    def _report(self) -> None:
        statuses = [self._unready()] if self._inputs is None else self._statuses()
        for status in statuses:
            state = _without_numbers(status.message)
            if status.logged and self._log.enter(status.name, state, time.monotonic_ns()):
                say = self.get_logger()
                text = f"{status.name}: {status.message}"
                if status.level is Level.OK:
                    say.info(text)
                elif status.level is Level.ERROR:
                    say.error(text)
                else:
                    say.warning(text)
        stamp = self.get_clock().now().to_msg()
        name = self.get_fully_qualified_name().lstrip("/")
        self._diagnostics_publisher.publish(diagnostic_array(stamp, name, statuses))

    def _unready(self) -> Status:
        if self.why_not:
            return Status("segmentation", Level.ERROR, f"cannot configure: {self.why_not}")
        state = "unconfigured" if self._pipeline is None else "inactive"
        return Status("segmentation", Level.OK, f"{state}, waiting for its lifecycle")

    def _statuses(self) -> list[Status]:
        assert self._pipeline is not None
        assert self._inputs is not None
        assert self._publications is not None
        for sensor, note in self._inputs.notes().items():
            self._diagnostics.sensors[sensor].note = note
        simulated = self.get_parameter("use_sim_time").value
        if simulated and not self.get_clock().now().nanoseconds:
            self._diagnostics.blocked = "use_sim_time is true, but /clock says nothing"
        subscribers = self._publications.subscribers()
        facts = {**self._facts, **device_memory(), "subscribers": str(subscribers)}
        counts = self._pipeline.matcher.counts
        return self._diagnostics.report(time.monotonic_ns(), counts, facts, not subscribers)

    def _refuse_label_parameters(self, parameters: list[Any]) -> SetParametersResult:
        why = self._label_parameters.refuse(parameters)
        return SetParametersResult(successful=not why, reason=why)


def _without_numbers(text: str) -> str:
    """The state that a message tells of: the same one, though figures in it change."""
    return re.sub(r"\d+(\.\d+)?", "#", text)


def main(args: list[str] | None = None, load: Load = load_model) -> int:
    """Runs the node until it is interrupted; the exit status."""
    use_profile()
    rclpy.init(args=args)
    try:
        node = SegmentNode(load)
    except ParameterException as error:
        get_logger("segment_node").fatal(str(error))
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.get_parameter("autostart").value and not node.start():
            return 1
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        # On Ctrl-C the terminal and `ros2 launch` both interrupt; the second must not end this.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
