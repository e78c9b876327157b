"""``segment_node``: a lifecycle around the pipeline.

One process with one executor thread, which matches messages in time, and one inference thread,
which labels the newest set and publishes (:mod:`memorysam_ros.session`).
"""

from __future__ import annotations

import dataclasses
import functools
import signal
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.signals import uninstall_signal_handlers

from memorysam_core.engines.memory_use import give_back
from memorysam_ros import interop, ros_parameters
from memorysam_ros.calibration import TfTransforms
from memorysam_ros.dds import use_profile
from memorysam_ros.log_bridge import LogBridge
from memorysam_ros.model import Load, facts_now, load_model
from memorysam_ros.node_health import HealthReporter
from memorysam_ros.node_topics import Publications
from memorysam_ros.parameters import FROM_TF, Parameters, explain_unknown
from memorysam_ros.pipeline import Pipeline, SegmenterLike
from memorysam_ros.session import Session
from memorysam_ros.status import Level, Status

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class SegmentNode(LifecycleNode):
    """Labels what the sensors see; see ``docs/node.md`` for topics, parameters and behaviour."""

    def __init__(self, load: Load = load_model, **options: Any) -> None:
        super().__init__("segment_node", **options)
        self._load = load
        ros_parameters.declare(self)
        self._label_parameters = ros_parameters.LabelSpaceParameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._refuse_illegal_transitions()
        self._log_bridge = LogBridge(self.get_logger())
        for name in ros_parameters.unknown_overrides(self):
            self.get_logger().error(explain_unknown(name))
        self._health = HealthReporter(self)
        # On a clock that never stops, so that a simulation that does is reported.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._report_timer: Any = None
        self._report_every(self.get_parameter("diagnostics_period").value)
        self._pipeline: Pipeline | None = None
        self._publications: Publications | None = None
        self._session: Session | None = None
        self._transforms: TfTransforms | None = None
        self._tf_listener: Any = None
        self._facts: dict[str, str] = {}
        self.why_not = ""
        """Why the last transition failed."""

    def start(self) -> bool:
        """Configures and activates without a lifecycle manager; whether both succeeded."""
        return self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS

    # Lifecycle

    def _refuse_illegal_transitions(self) -> None:
        """Those that are asked for by number, as nav2's manager does, would end the executor
        (ros2/rclpy#1209).
        """
        service = self._service_change_state
        change = service.callback

        def callback(request: Any, response: Any) -> Any:
            try:
                return change(request, response)
            except rclpy_implementation.RCLError as error:
                asked = request.transition.label or f"number {request.transition.id}"
                self.get_logger().error(f"transition {asked} is refused: {error}")
                response.success = False
                return response

        service.callback = callback

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Reads the parameters, loads and warms the model, makes the publishers."""
        return self._attempt("cannot configure", self._configure, undo=self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts the inference thread and subscribes."""
        undo = functools.partial(super().on_deactivate, state)
        super().on_activate(state)
        return self._attempt("cannot activate", self._activate, undo)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribes and ends the inference thread. Where the model hangs, all is given up."""
        super().on_deactivate(state)
        return SUCCESS if self._stop() else TransitionCallbackReturn.ERROR

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
        self._log_bridge.close()
        super().destroy_node()

    def _attempt(
        self, failure: str, step: Callable[[], None], undo: Callable[[], Any]
    ) -> TransitionCallbackReturn:
        """Takes a step of the lifecycle; says why, and leaves nothing of it, where that fails."""
        try:
            step()
        except Exception as error:  # rclpy would swallow it
            why = " ".join(str(error).split()) or type(error).__name__
            self.why_not = f"{failure}: {why}"
            self.get_logger().fatal(self.why_not)
            undo()
            return FAILURE
        self.why_not = ""
        return SUCCESS

    def _configure(self) -> None:
        parameters = self._available(ros_parameters.read(self))
        self._report_every(parameters.diagnostics_period)
        segmenter = self._loaded(parameters)
        try:
            self._pipeline = Pipeline(segmenter, parameters, self._listen_to_tf(parameters))
        except Exception:
            segmenter.close()
            raise
        for name in self._pipeline.unfed:
            self.get_logger().warning(
                f"nothing feeds the checkpoint's {name}; it is left out of every set"
            )
        if not self._pipeline.sensors:
            raise ValueError("all sensors of this checkpoint are unused; give one a policy")
        contract = segmenter.contract
        self._publications = Publications(self, parameters, contract.label_space)
        self._label_parameters.publish(contract.label_space)

    def _activate(self) -> None:
        assert self._pipeline is not None
        assert self._publications is not None
        forget = self._transforms.clear if self._transforms is not None else lambda: None
        self._session = Session(self, self._pipeline, self._publications, self._health, forget)
        now_ns = self.get_clock().now().nanoseconds
        self._publications.publish_label_info(now_ns, self._pipeline.readings.camera_frame)

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

        def status() -> Status:
            message = f"loading {parameters.checkpoint} for {time.monotonic() - begin:.0f} s"
            return Status("segmentation", Level.OK, message, logged=False)

        with self._health.meanwhile(status, parameters.diagnostics_period):
            segmenter, self._facts = self._load(parameters)
        facts = "; ".join(f"{key} {value}" for key, value in self._facts.items())
        self.get_logger().info(f"model ready in {time.monotonic() - begin:.1f} s: {facts}")
        return segmenter

    def _listen_to_tf(self, parameters: Parameters) -> TfTransforms | None:
        tf2_ros = interop.optional("tf2_ros")
        if tf2_ros is None:
            return None
        # Not given the node, for which it would make a service and a jump callback that stay.
        buffer = tf2_ros.Buffer()
        self._tf_listener = tf2_ros.TransformListener(buffer, self)
        self._transforms = TfTransforms(buffer, parameters.tf_timeout)
        return self._transforms

    def _stop(self) -> bool:
        """Ends the session, if there is one; whether its thread has ended."""
        session, self._session = self._session, None
        if session is None or session.close():
            return True
        self.why_not = "the model does not come back from its set; it is left to itself"
        self.get_logger().error(self.why_not)
        return False

    def _release(self) -> None:
        if self._publications is not None:
            self._publications.destroy()
            self._publications = None
        if self._tf_listener is not None:
            self._tf_listener.unregister()
            self._tf_listener = self._transforms = None
        self._label_parameters.withdraw()
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None
        self._facts = {}
        give_back()

    # Diagnostics and parameters

    def _report_every(self, period_s: float) -> None:
        if self._report_timer is not None:
            self.destroy_timer(self._report_timer)
        self._report_timer = self.create_timer(period_s, self._report, clock=self._steady)

    def _report(self) -> None:
        if self._session is None or self._pipeline is None:
            self._health.publish([self._unready()])
            return
        facts = {**self._facts, **facts_now(self._pipeline.segmenter)}
        if self._log_bridge.last_warning:
            facts["last warning"] = self._log_bridge.last_warning
        self._health.publish(self._session.statuses(facts))

    def _unready(self) -> Status:
        if self.why_not:
            return Status("segmentation", Level.ERROR, self.why_not)
        state = "unconfigured" if self._pipeline is None else "inactive"
        return Status("segmentation", Level.OK, f"{state}, waiting for its lifecycle")

    def _on_set_parameters(self, parameters: list[Any]) -> SetParametersResult:
        why = ros_parameters.refuse(parameters)
        changed = ros_parameters.own(parameters)
        if changed and not why and self._pipeline is not None:
            # rclpy keeps the reason of a success to itself.
            self.get_logger().info(f"{', '.join(changed)} will change at the next configure")
        return SetParametersResult(successful=not why, reason=why)


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
    except rclpy_implementation.RCLError:
        if rclpy.ok():  # else a signal ended the context between two steps of the executor
            raise
    finally:
        # On Ctrl-C the terminal and `ros2 launch` both interrupt; the second must not end this.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        # rclpy's thread that woke the executor may not be done: it would wake what is gone by then.
        uninstall_signal_handlers()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
