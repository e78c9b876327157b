"""The node while it is active: messages to sets on one thread, sets to labels on another."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rclpy.timer import Timer

from memorysam_ros.conversions import ConversionError, stamp_ns
from memorysam_ros.diagnostics import Circumstances, Diagnostics
from memorysam_ros.matching import MatchedSet
from memorysam_ros.matching_rules import MatchingRules
from memorysam_ros.node_health import HealthReporter
from memorysam_ros.node_topics import Inputs, Publications
from memorysam_ros.pipeline import Pipeline, UnusableSet
from memorysam_ros.sensor_health import Bounds
from memorysam_ros.status import Level, S, Status
from memorysam_ros.worker import Worker

NEVER_S = 3600.0
REPORTS_SHOWN = 10
"""Diagnostics show what happened since so many reports ago."""
PATIENCE_S, PATIENCE_TIMES = 10.0, 3
"""The set in work has so long to end, or so many times the longest that the model has taken."""


class Session:
    """From activation to deactivation."""

    def __init__(
        self,
        node: Any,
        pipeline: Pipeline,
        publications: Publications,
        health: HealthReporter,
        forget_motion: Callable[[], None],
    ) -> None:
        """``forget_motion`` is called when time starts anew. Raises as :class:`Inputs`."""
        parameters, rules = pipeline.parameters, pipeline.matcher.rules
        self._node = node
        self._pipeline = pipeline
        self._publications = publications
        self._health = health
        self._forget_motion = forget_motion
        self._flushes = pipeline.matcher.flushes
        self._resting = False
        self._closed = False
        self._offsets = {rule.name: rule.offset_ns for rule in (rules.leader, *rules.followers)}
        self.diagnostics = Diagnostics(
            {s: getattr(parameters, s).policy == "required" for s in pipeline.listened},
            time.monotonic_ns(),
            bounds_of(rules),
            rules.deadline_ns,
            window_ns=round(REPORTS_SHOWN * parameters.diagnostics_period * S),
            counted=pipeline.matcher.counts,
        )
        for rule in rules.followers:
            if rule.policy == "hold" and rule.name in self.diagnostics.sensors:
                self.diagnostics.sensors[rule.name].may_pause(rule.max_age_ns)
        pipeline.resume()
        with ExitStack() as undo:
            self._deadline: Timer = node.create_timer(NEVER_S, self._on_deadline)
            undo.callback(node.destroy_timer, self._deadline)
            self._deadline.cancel()
            self._inputs = Inputs(
                node,
                parameters,
                pipeline.listened,
                self._on_message,
                pipeline.add_camera_info,
                self._on_lost,
            )
            self._worker: Worker[tuple[MatchedSet, int]] = Worker(self._label, self._failed)
            undo.pop_all()

    def close(self) -> bool:
        """Unsubscribes and ends the inference thread, once it is done with its set; whether it is.

        A model that hangs is left to itself after a while: what comes of it is not published.
        """
        self._closed = True
        self._inputs.destroy()
        self._node.destroy_timer(self._deadline)
        longest_ms = self.diagnostics.stages.summary_ms().get("model", (0.0, 0.0, 0.0))[2]
        ended = self._worker.stop(max(PATIENCE_S, PATIENCE_TIMES * longest_ms / 1e3))
        self._pipeline.matcher.flush("deactivated")
        return ended

    def statuses(self, facts: dict[str, str]) -> list[Status]:
        """How everything is; ``facts`` are said of the model."""
        self._look_at_topics()
        matcher, now_ns = self._pipeline.matcher, self._now_ns()
        leader, subscribers = matcher.leader(now_ns), self._publications.subscribers()
        simulated = self._node.get_parameter("use_sim_time").value
        circumstances = Circumstances(
            counts=dict(matcher.counts),
            reasons=dict(matcher.reasons),
            leader=leader,
            led=not matcher.silent(leader, now_ns),
            wanted=bool(subscribers),
            working_ns=self._worker.working_ns,
            resting=[s for s in self._pipeline.extras if not self._publications.wants(s)],
            blocked=(
                "use_sim_time is true, but /clock says nothing" if simulated and not now_ns else ""
            ),
        )
        facts = {**facts, "subscribers": str(subscribers)}
        statuses = self.diagnostics.report(time.monotonic_ns(), facts, circumstances)
        unheard = "; ".join(self._publications.obstacles())
        level = Level.WARN if unheard else Level.OK
        outputs = Status("outputs", level, unheard or f"{subscribers} subscribers")
        return [*statuses, outputs]

    def _look_at_topics(self) -> None:
        """What the graph says of the inputs, to be told with their sensors."""
        sensors = self.diagnostics.sensors
        for health in sensors.values():
            health.obstacle = ""
        for note in self._inputs.notes():
            if note.sensor in sensors:  # the camera's info is needed where its images are not
                health = sensors[note.sensor]
                health.obstacle = health.obstacle or note.obstacle
                if not note.is_info:
                    health.note = note.silence

    # Executor thread: messages to sets

    def _on_message(self, sensor: str, message: Any) -> None:
        now_ns, stamp = self._now_ns(), stamp_ns(message)
        corrected = stamp + self._offsets.get(sensor, 0) if stamp else 0
        self.diagnostics.sensors[sensor].arrived(corrected, now_ns, time.monotonic_ns())
        if not stamp:
            text = (
                "its stamps are zero; the time of arrival is taken instead. Set them in its driver"
            )
            self._health.log(Level.WARN, f"stamps of {sensor}", text)
        if not self._wanted(sensor):
            return
        try:
            self._hand_over(self._pipeline.add(sensor, message, now_ns))
        except ConversionError as error:
            self._trouble(sensor, str(error))
            return
        if self._pipeline.expects(sensor, message):
            self._worker.offer(sensor, functools.partial(self._prepare, sensor, message))

    def _wanted(self, sensor: str) -> bool:
        """Whether a message is of use: somebody subscribes, and to what is made of it."""
        if not self._publications.wanted():
            self._resting = True
            return False
        if self._resting:
            self._resting = False
            self._pipeline.resume()
        if sensor not in self._pipeline.extras or self._publications.wants(sensor):
            return True
        self._pipeline.matcher.stop_expecting(sensor)
        return False

    def _on_lost(self, sensor: str, messages: int) -> None:
        self.diagnostics.count(f"{sensor}: lost on the way", messages)

    def _on_deadline(self) -> None:
        self._hand_over(self._pipeline.tick(self._now_ns()))

    def _hand_over(self, sets: list[MatchedSet]) -> None:
        """Closed sets go to the inference thread; the timer is set to the next deadline."""
        matcher = self._pipeline.matcher
        if matcher.flushes != self._flushes:
            self._flushes = matcher.flushes
            self._worker.clear()
            self._forget_motion()
        for matched in sets:
            if self._worker.put((matched, time.monotonic_ns())) is not None:
                self.diagnostics.count("sets superseded")
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
        if self._closed:
            return
        self._publications.publish(result)
        done_ns = time.monotonic_ns()

        for sensor in matched.readings:
            if sensor in result.troubles:
                self._trouble(sensor, result.troubles[sensor])
            else:
                self.diagnostics.sensors[sensor].worked(result.doubts.get(sensor, ""))
        self.diagnostics.published(done_ns)
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
        if self._closed or not self._node.context.ok():  # nothing can be published any more
            return
        if isinstance(error, UnusableSet):
            self.diagnostics.unusable(str(error))
            for sensor in error.troubles.keys() & self.diagnostics.sensors.keys():
                self._trouble(sensor, error.troubles[sensor])
            for sensor in error.worked & self.diagnostics.sensors.keys():
                self.diagnostics.sensors[sensor].worked()
            return
        kind = type(error).__name__
        self.diagnostics.count(f"sets failed: {kind}")
        told = (
            f"failed on the set of {matched.stamp_ns / 1e9:.3f} s ({', '.join(matched.readings)})"
        )
        self._health.log(Level.ERROR, "model", f"{told}: {kind}: {' '.join(str(error).split())}")

    def _trouble(self, sensor: str, text: str) -> None:
        self.diagnostics.sensors[sensor].failed(text)
        self._health.log(Level.ERROR, f"sensor {sensor}", text)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)


def bounds_of(rules: MatchingRules) -> Bounds:
    """What is normal of a sensor under these rules.

    A stamp that is further ahead of its arrival than any tolerance belongs to no set of the others.
    """
    tolerance_ns = max((rule.tolerance_ns for rule in rules.followers), default=0)
    ahead_ns = rules.deadline_ns + tolerance_ns
    return Bounds(rules.silent_after_ns, ahead_ns, max(S, ahead_ns))
