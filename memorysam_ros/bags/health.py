"""What the live node would have said of itself on ``/diagnostics`` while a bag was replayed.

Told by the node's own :class:`memorysam_ros.diagnostics.Diagnostics`, to which the bag's clock is
the only one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from memorysam_ros import conversions
from memorysam_ros.bags.replay import SECOND_NS, Moment
from memorysam_ros.bags.types import typestore
from memorysam_ros.conversions import Outputs, bag_messages
from memorysam_ros.diagnostics import Circumstances, Diagnostics
from memorysam_ros.pipeline import Pipeline
from memorysam_ros.sensor_health import Bounds
from memorysam_ros.status import Status

_REPORTS_SHOWN = 10
"""As in the node: counts are those since so many reports ago."""


class ReplayHealth:
    """Hears what goes into a pipeline and what comes out."""

    def __init__(self, pipeline: Pipeline, began_ns: int, facts: Mapping[str, str]) -> None:
        """``facts`` are said of the model."""
        parameters, rules = pipeline.parameters, pipeline.matcher.rules
        self._pipeline, self._facts = pipeline, facts
        self._period_ns = round(parameters.diagnostics_period * SECOND_NS)
        self._due_ns = began_ns + self._period_ns
        self._reasons: dict[str, str] = {}
        self._diagnostics = Diagnostics(
            {s: getattr(parameters, s).policy == "required" for s in pipeline.listened},
            began_ns,
            Bounds(silent_after_ns=rules.silent_after_ns),
            rules.deadline_ns,
            window_ns=_REPORTS_SHOWN * self._period_ns,
        )

    def arrived(self, sensor: str, message: Any, now_ns: int) -> None:
        """A message of a sensor was read from the bag."""
        health = self._diagnostics.sensors.get(sensor)
        if health is not None:
            health.arrived(conversions.stamp_ns(message), now_ns, now_ns)

    def labelled(self, moment: Moment) -> None:
        """A set went through the pipeline."""
        diagnostics, result, matched = self._diagnostics, moment.result, moment.matched
        self._reasons.update(matched.missing)
        if result is None:
            diagnostics.unusable(moment.why)
            return
        for sensor in matched.readings.keys() & diagnostics.sensors.keys():
            health = diagnostics.sensors[sensor]
            if sensor in result.troubles:
                health.failed(result.troubles[sensor])
            else:
                health.worked(result.doubts.get(sensor, ""))
        diagnostics.published(moment.time_ns)
        waited_ns = matched.closed_ns - matched.opened_ns
        late_ns = moment.time_ns - matched.stamp_ns + sum(result.times_ns.values())
        stages = {"matching": waited_ns, **result.times_ns, "camera to labels": late_ns}
        for stage, duration_ns in stages.items():
            diagnostics.stages.add(stage, duration_ns)

    def messages(self, until_ns: int, outputs: Outputs) -> Iterator[tuple[int, Any]]:
        """What the node would have said by now, each with its time."""
        while self._due_ns <= until_ns:
            yield self._due_ns, _message(self._statuses(), self._due_ns, outputs)
            self._due_ns += self._period_ns

    def _statuses(self) -> list[Status]:
        matcher = self._pipeline.matcher
        circumstances = Circumstances(
            counts=dict(matcher.counts),
            reasons=self._reasons,
            leader=matcher.leader(self._due_ns),
            led=not matcher.silent(matcher.leader(self._due_ns), self._due_ns),
        )
        return self._diagnostics.report(self._due_ns, self._facts, circumstances)


def _message(statuses: list[Status], time_ns: int, outputs: Outputs) -> Any:
    make = bag_messages(typestore())
    return make(
        "diagnostic_msgs/msg/DiagnosticArray",
        header=outputs.header(time_ns, ""),
        status=[
            make(
                "diagnostic_msgs/msg/DiagnosticStatus",
                level=int(status.level),
                name=f"segment_node: {status.name}",
                message=status.message,
                hardware_id="memorysam",
                values=[
                    make("diagnostic_msgs/msg/KeyValue", key=key, value=value)
                    for key, value in status.values.items()
                ],
            )
            for status in statuses
        ],
    )
