"""The node while it is active: messages to sets on one thread, sets to labels on another."""

from __future__ import annotations

import functools
import time
from typing import Any

from rclpy.timer import Timer

from memorysam_ros.conversions import ConversionError, stamp_ns
from memorysam_ros.diagnostics import Diagnostics, Level, Status
from memorysam_ros.matching import MatchedSet
from memorysam_ros.node_health import HealthReporter
from memorysam_ros.node_topics import Inputs, Publications
from memorysam_ros.pipeline import Pipeline, UnusableSet
from memorysam_ros.worker import Worker

NEVER_S = 3600.0
REPORTS_SHOWN = 10
"""Diagnostics show what happened since so many reports ago."""


class Session:
    """From activation to deactivation."""

    def __init__(
        self, node: Any, pipeline: Pipeline, publications: Publications, health: HealthReporter
    ) -> None:
        parameters = pipeline.parameters
        self._node = node
        self._pipeline = pipeline
        self._publications = publications
        self._health = health
        self._flushes = pipeline.matcher.flushes
        self.diagnostics = Diagnostics(
            {s: getattr(parameters, s).policy == "required" for s in pipeline.sensors},
            began_ns=time.monotonic_ns(),
            silent_after_ns=pipeline.matcher.rules.silent_after_ns,
            window_ns=round(REPORTS_SHOWN * parameters.diagnostics_period * 1e9),
        )
        self._deadline: Timer = node.create_timer(NEVER_S, self._on_deadline)
        self._deadline.cancel()
        self._worker: Worker[tuple[MatchedSet, int]] = Worker(self._label, self._failed)
        sensors = pipeline.sensors
        self._inputs = Inputs(node, parameters, sensors, self._on_message, pipeline.add_camera_info)

    def close(self) -> None:
        """Unsubscribes and ends the inference thread, once it is done with its set."""
        self._inputs.destroy()
        self._node.destroy_timer(self._deadline)
        self._worker.stop()
        self._pipeline.matcher.flush("deactivated")

    def statuses(self, facts: dict[str, str]) -> list[Status]:
        """How everything is; ``facts`` are said of the model."""
        for sensor, note in self._inputs.notes().items():
            self.diagnostics.sensors[sensor].note = note
        simulated = self._node.get_parameter("use_sim_time").value
        if simulated and not self._now_ns():
            self.diagnostics.blocked = "use_sim_time is true, but /clock says nothing"
        subscribers = self._publications.subscribers()
        return self.diagnostics.report(
            time.monotonic_ns(),
            self._pipeline.matcher.counts,
            {**facts, "subscribers": str(subscribers)},
            idle=not subscribers,
        )

    # Executor thread: messages to sets

    def _on_message(self, sensor: str, message: Any) -> None:
        now_ns, stamp = self._now_ns(), stamp_ns(message)
        self.diagnostics.sensors[sensor].arrived(stamp, now_ns, time.monotonic_ns())
        if not stamp:
            text = (
                "its stamps are zero; the time of arrival is taken instead. Set them in its driver"
            )
            self._health.log(Level.WARN, f"stamps of {sensor}", text)
        if not self._publications.wanted():
            return
        try:
            self._hand_over(self._pipeline.add(sensor, message, now_ns))
        except ConversionError as error:
            self._trouble(sensor, str(error))
            return
        if self._pipeline.expects(sensor, message):
            self._worker.offer(sensor, functools.partial(self._prepare, sensor, message))

    def _on_deadline(self) -> None:
        self._hand_over(self._pipeline.tick(self._now_ns()))

    def _hand_over(self, sets: list[MatchedSet]) -> None:
        """Closed sets go to the inference thread; the timer is set to the next deadline."""
        matcher = self._pipeline.matcher
        if matcher.flushes != self._flushes:
            self._flushes = matcher.flushes
            self._worker.clear()
        for matched in sets:
            if self._worker.put((matched, time.monotonic_ns())) is not None:
                self.diagnostics.counts["sets superseded"] += 1
        due_ns = matcher.next_deadline_ns
        if due_ns is None:
            self._deadline.cancel()
        else:
            self._deadline.timer_period_ns = max(due_ns - self._now_ns(), 1)
            self._deadline.reset()

    # Inference thread: sets to labels

    def _prepare(self, sensor: str, message: Any) -> None:
        """Draws what the next set will probably need, while there is nothing else to do."""
        begin_ns = time.monotonic_ns()
        self._pipeline.prepare(sensor, message)
        self.diagnostics.stages.add("ahead of the set", time.monotonic_ns() - begin_ns)

    def _label(self, item: tuple[MatchedSet, int]) -> None:
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
                self.diagnostics.sensors[sensor].worked(result.doubts.get(sensor, ""))
        self.diagnostics.blocked = ""
        self.diagnostics.counts["sets published"] += 1
        for stage, duration_ns in {
            "matching": matched.closed_ns - matched.opened_ns,
            "queue": begin_ns - handed_ns,
            **result.times_ns,
            "publish": done_ns - computed_ns,
            "camera to labels": self._now_ns() - matched.stamp_ns,
        }.items():
            self.diagnostics.stages.add(stage, duration_ns)

    def _failed(self, item: tuple[MatchedSet, int], error: Exception) -> None:
        matched, _ = item
        if not self._node.context.ok():  # interrupted: nothing can be published any more
            return
        if isinstance(error, UnusableSet):
            self.diagnostics.counts["sets dropped: unusable"] += 1
            self.diagnostics.blocked = f"no labels: {error}"
            return
        kind = type(error).__name__
        self.diagnostics.counts[f"sets failed: {kind}"] += 1
        told = (
            f"failed on the set of {matched.stamp_ns / 1e9:.3f} s ({', '.join(matched.readings)})"
        )
        self._health.log(Level.ERROR, "model", f"{told}: {kind}: {' '.join(str(error).split())}")

    def _trouble(self, sensor: str, text: str) -> None:
        self.diagnostics.sensors[sensor].failed(text)
        self._health.log(Level.ERROR, f"sensor {sensor}", text)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)
