"""How the frames of a bag stood to each other, as tf2 would have told the live node."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np

from memorysam_ros import conversions
from memorysam_ros.bags.reader import Bag, BagError, RawMessage
from memorysam_ros.bags.topics import TRANSFORMS
from memorysam_ros.calibration import CalibrationError, StaticTransforms
from memorysam_ros.conversions.outputs import quaternion_from_matrix
from memorysam_ros.conversions.transforms import StampedTransform, matrix_from_quaternion

SECOND_NS = 1_000_000_000
KEPT_NS = 10 * SECOND_NS
"""How long moving transforms are remembered, as by a tf2 buffer."""


class BagTransforms:
    """The tree of ``/tf_static`` and ``/tf``; to be used as a context.

    Static transforms hold for the whole bag, wherever in it they are told. Of the moving ones is
    known what was recorded until the bag's clock (:meth:`advance`), and as much later as the live
    node would have waited. They are read beside the replay, hence in bounded memory.
    """

    def __init__(self, bag: Bag, timeout_s: float = 0.05) -> None:
        """``bag`` is open; ``timeout_s`` is the node's ``tf_timeout``."""
        self._bag = bag
        self._timeout_ns = round(timeout_s * SECOND_NS)
        self._static = [edge for raw in bag.messages(_topics(bag, True)) for edge in self._of(raw)]
        self._moving: dict[str, list[StampedTransform]] = {}
        self._messages: Iterator[RawMessage] | None = None
        self._next: RawMessage | None = None
        self.on_moving: Callable[[RawMessage], object] = lambda raw: None
        """Called with each message of ``/tf`` as it is read."""
        self._stack = ExitStack()

    def __enter__(self) -> BagTransforms:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def advance(self, now_ns: int) -> None:
        """The bag's clock went on."""
        if self._messages is None:
            self._messages = self._read_from(now_ns - KEPT_NS)
            self._next = next(self._messages, None)
        while self._next is not None and self._next.time_ns <= now_ns + self._timeout_ns:
            self.on_moving(self._next)
            for edge in self._of(self._next):
                samples = self._moving.setdefault(edge.child, [])
                insort(samples, edge, key=_stamp)
                old = bisect_left(samples, samples[-1].stamp_ns - KEPT_NS, key=_stamp)
                del samples[:old]
            self._next = next(self._messages, None)

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """``target_from_source`` at a time; at the latest for a stamp of zero, as with tf2.

        Moving transforms are interpolated between their neighbours in time. Raises
        CalibrationError, naming the frames, and the times where it is a matter of time.
        """
        now = [*self._static, *(samples[-1] for samples in self._moving.values())]
        of_now = StaticTransforms(now).lookup(target, source)
        parents = {edge.child: edge.parent for edge in now}
        between = _above(target, parents) ^ _above(source, parents)
        on_the_way = [name for name in self._moving if name in between]
        if not on_the_way:
            return of_now
        if stamp_ns == 0:
            stamp_ns = min(self._moving[name][-1].stamp_ns for name in on_the_way)
        try:
            moved = [_at(self._moving[name], stamp_ns) for name in on_the_way]
        except CalibrationError as error:
            raise CalibrationError(
                f"no transform from frame {source!r} to {target!r} at {stamp_ns / SECOND_NS:.3f} "
                f"s: {error}"
            ) from None
        return StaticTransforms([*self._static, *moved]).lookup(target, source)

    def _read_from(self, start_ns: int) -> Iterator[RawMessage]:
        """On a reader of its own: two at once would disturb each other in some storages."""
        topics = _topics(self._bag, False)
        if not topics:
            return iter(())
        return self._stack.enter_context(self._bag.again()).messages(topics, max(0, start_ns))

    def _of(self, raw: RawMessage) -> list[StampedTransform]:
        try:
            return conversions.transforms(self._bag.deserialise(raw))
        except (BagError, conversions.ConversionError) as error:
            told = f"{raw.topic} has messages that are left out, the first: "
            if not any(warning.startswith(told) for warning in self._bag.warnings):
                self._bag.warnings.append(told + str(error))
            return []


def _topics(bag: Bag, static: bool) -> set[str]:
    known = (topic.name for topic in bag.topics.values() if topic.msgtype == TRANSFORMS)
    end = "tf_static" if static else "tf"
    return {name for name in known if name.rpartition("/")[2] == end}


def _stamp(edge: StampedTransform) -> int:
    return edge.stamp_ns


def _above(frame: str, parents: dict[str, str]) -> set[str]:
    """The frame and all frames above it."""
    found = {frame}
    while (frame := parents.get(frame, frame)) not in found:
        found.add(frame)
    return found


def _at(samples: list[StampedTransform], stamp_ns: int) -> StampedTransform:
    """An edge at a time, between its samples. Raises CalibrationError outside of them."""
    after = bisect_left(samples, stamp_ns, key=_stamp)
    if after < len(samples) and samples[after].stamp_ns == stamp_ns:
        return samples[after]
    if after in (0, len(samples)):
        edge = samples[0] if after == 0 else samples[-1]
        apart_s = (stamp_ns - edge.stamp_ns) / SECOND_NS
        kind, side = ("first", "newer") if after == 0 else ("latest", "older")
        raise CalibrationError(
            f"the {kind} of {edge.child!r} in {edge.parent!r} is {abs(apart_s):.3f} s {side}; "
            "check that both clocks are the same, or raise tf_timeout"
        )
    one, other = samples[after - 1], samples[after]
    share = (stamp_ns - one.stamp_ns) / (other.stamp_ns - one.stamp_ns)
    matrix = _between(one.parent_from_child, other.parent_from_child, share)
    return StampedTransform(one.parent, one.child, stamp_ns, matrix)


def _between(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Positions on a straight line, rotations on the shortest arc (slerp), as tf2 does."""
    position = (1 - share) * one[:3, 3] + share * other[:3, 3]
    first, second = (np.array(quaternion_from_matrix(matrix)) for matrix in (one, other))
    cosine = float(first @ second)
    if cosine < 0:  # the same rotation, from its other side
        second, cosine = -second, -cosine
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-6:
        mixed = (1 - share) * first + share * second
    else:
        mixed = np.sin((1 - share) * angle) * first + np.sin(share * angle) * second
    return matrix_from_quaternion(tuple(position), tuple(mixed))
