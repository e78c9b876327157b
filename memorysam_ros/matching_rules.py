"""Rules of matching in time: who leads, who follows, how near in time and how long to wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Policy = Literal["required", "optional", "hold"]
POLICIES: tuple[Policy, ...] = ("required", "optional", "hold")

MS = 1_000_000


@dataclass(frozen=True)
class SensorRule:
    """How the readings of one sensor find their set. Raises ValueError on contradictory values."""

    name: str
    policy: Policy = "optional"
    """``required``: no set without it. ``optional``: the set goes out without it. ``hold``: its
    last reading serves again, at once, until it is older than ``max_age_ns``."""
    offset_ns: int = 0
    """Added to its stamps before matching, for a constant difference of clocks."""
    tolerance_ns: int = 50 * MS
    """Largest distance in time from the leader's stamp."""
    max_age_ns: int = 500 * MS
    """With ``hold``, the oldest reading that is used."""
    window_ns: int = 0
    """Where not 0 the readings are pieces of a stream (event packets), and a set gets all that
    touch the window of this length which ends at the leader's stamp."""
    extra: bool = False
    """The model does without it: no set waits for it before it was heard, none is partial for lack
    of it, and it never leads."""

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(
                f"policy of {self.name} is {self.policy!r}; accepted are {', '.join(POLICIES)}"
            )
        if min(self.tolerance_ns, self.max_age_ns, self.window_ns) < 0:
            raise ValueError(f"tolerance, age and window of {self.name} must not be negative")
        if self.window_ns and self.policy == "hold":
            raise ValueError(
                f"{self.name} is a stream, whose window ends at the leader's stamp; it cannot be "
                "held: set its policy to optional or required"
            )


@dataclass(frozen=True)
class MatchingRules:
    """Who leads, who follows, and how long anyone is waited for."""

    leader: SensorRule
    """``optional``: while it is silent, a follower leads. ``required``: then there are no sets."""
    followers: tuple[SensorRule, ...] = ()
    """In the order in which they may stand in for the leader."""
    deadline_ns: int = 100 * MS
    """From the arrival of the leader's reading to the latest closing of its set."""
    silent_after_ns: int = 1000 * MS
    """A sensor without news for this long is not waited for."""
    jump_ns: int = 500 * MS
    """A step back in time of more than this is a new beginning; a smaller one is disorder."""
    queue_depth: int = 16
    """Readings kept of each follower."""
    stream_depth: int = 1024
    """Pieces kept of each stream."""
    max_open: int = 16
    """Sets that may be open at once; the oldest closes early when there would be more."""

    def __post_init__(self) -> None:
        names = [self.leader.name, *(rule.name for rule in self.followers)]
        if len(set(names)) != len(names):
            raise ValueError(f"a sensor is named twice in {', '.join(names)}")
        if self.leader.policy == "hold" or self.leader.window_ns:
            raise ValueError(f"{self.leader.name} leads; its policy is required or optional")
        if min(self.queue_depth, self.stream_depth, self.max_open) < 1 or self.deadline_ns < 0:
            raise ValueError("depths must be at least 1 and the deadline not negative")
