"""What a replay takes from a parameter file, and what from the bag."""

from argparse import Namespace
from types import SimpleNamespace

import pytest

from memorysam_ros.bags import Topic
from memorysam_ros.bags.selecting import parameters
from memorysam_ros.bags.topics import IMAGE, PACKET


@pytest.mark.parametrize(("kind", "source"), [(PACKET, "packets"), (IMAGE, "image")])
@pytest.mark.parametrize("asked", ["packets", "image"])
def test_events_are_what_the_bag_has(tmp_path, kind, source, asked):
    """A preset says what a rig's driver sends; a bag may hold the other form."""
    path = tmp_path / "rig.yaml"
    path.write_text(f"/**:\n  ros__parameters:\n    event: {{source: {asked}}}\n")
    bag = SimpleNamespace(topics={"/events": Topic("/events", kind, 5)})
    args = Namespace(params_file=str(path), calibration=None)
    assert parameters(args, bag, {"events": "/events"}).event.source == source
    assert parameters(args, bag, {}).event.source == asked
