import numpy as np
import pytest
import sensor_messages as sent

from memorysam_ros import conversions
from memorysam_ros.bags import Bag
from memorysam_ros.conversions import ConversionError, EventStream, Outputs

STAMP = 1_700_000_000_000_000_000


def packet(data: bytes, encoding: str, seq: int = 0, stamp_ns: int = STAMP, **changes):
    """An EventPacket of a sensor of 64 x 48."""
    make = sent.FACTORIES["rosbags"]
    fields = {
        "header": Outputs(make).header(stamp_ns, "event_camera"),
        "height": 48,
        "width": 64,
        "seq": seq,
        "time_base": 0,
        "encoding": encoding,
        "is_bigendian": False,
        "events": np.frombuffer(data, np.uint8),
    }
    return make("event_camera_msgs/msg/EventPacket", **fields | changes)


def evt3(row: int, time_us: int, *columns: tuple[int, int]) -> bytes:
    words = [0x8000 | (time_us >> 12), 0x6000 | (time_us & 0xFFF), row]
    words += [0x2000 | (polarity << 11) | x for x, polarity in columns]
    return np.array(words, "<u2").tobytes()


def test_evt3_events_carry_the_time_of_their_arrival():
    data = evt3(7, 5_000, (3, 1), (4, 0)) + evt3(8, 5_250, (63, 1))
    events = EventStream().decode(packet(data, "evt3"))
    assert events.t_ns.tolist() == [STAMP, STAMP, STAMP + 250_000]
    assert (events.x.tolist(), events.y.tolist()) == ([3, 4, 63], [7, 7, 8])
    assert events.p.tolist() == [1, 0, 1]
    assert (events.width, events.height) == (64, 48)


def test_evt3_goes_on_where_the_last_packet_ended():
    stream = EventStream()
    stream.decode(packet(evt3(7, 5_000, (3, 1)), "evt3", seq=10))
    only_a_column = np.array([0x2000 | 5], "<u2").tobytes()
    events = stream.decode(packet(only_a_column, "evt3", seq=11, stamp_ns=STAMP + 1000))
    assert (events.x.tolist(), events.y.tolist()) == ([5], [7])
    assert events.t_ns.tolist() == [STAMP + 1000]


def test_a_sensor_that_changes_its_resolution_is_decoded_anew():
    stream = EventStream()
    stream.decode(packet(evt3(7, 5_000, (3, 1)), "evt3", seq=10, width=16, height=12))
    events = stream.decode(packet(evt3(47, 6_000, (63, 1)), "evt3", seq=11))
    assert (events.x.tolist(), events.y.tolist()) == ([63], [47])
    assert stream.lost_packets == 0


def test_a_lost_packet_is_counted_and_its_row_is_not_guessed():
    stream = EventStream()
    stream.decode(packet(evt3(7, 5_000, (3, 1)), "evt3", seq=10))
    only_a_column = np.array([0x2000 | 5], "<u2").tobytes()
    assert len(stream.decode(packet(only_a_column, "evt3", seq=13)).x) == 0
    assert stream.lost_packets == 2
    assert len(stream.decode(packet(evt3(9, 6_000, (3, 1)), "evt3", seq=14)).x) == 1
    assert stream.lost_packets == 2


def test_a_bag_that_starts_anew_loses_nothing():
    stream = EventStream()
    stream.decode(packet(evt3(7, 5_000, (3, 1)), "evt3", seq=10))
    stream.decode(packet(evt3(7, 1_000, (3, 1)), "evt3", seq=0))
    assert stream.lost_packets == 0


def test_mono():
    words = [5 << 0 | 12 << 32 | 34 << 48 | 1 << 63, 905 | 63 << 32 | 47 << 48]
    events = EventStream().decode(packet(np.array(words, "<u8").tobytes(), "mono"))
    assert events.t_ns.tolist() == [STAMP, STAMP + 900]
    assert (events.x.tolist(), events.y.tolist()) == ([12, 63], [34, 47])
    assert events.p.tolist() == [1, 0]


def test_libcaer_whose_time_wraps_within_a_packet():
    last, first = (1 << 31) - 1, 1
    words = [
        1 | 1 << 1 | 20 << 2 | 10 << 17 | last << 32,
        1 | 0 << 1 | 21 << 2 | 11 << 17 | first << 32,
    ]
    events = EventStream().decode(packet(np.array(words, "<u8").tobytes(), "libcaer"))
    assert events.t_ns.tolist() == [STAMP, STAMP + 2_000]
    assert (events.x.tolist(), events.y.tolist()) == ([10, 11], [20, 21])
    assert events.p.tolist() == [1, 0]


@pytest.mark.parametrize("encoding", ["evt3", "mono", "libcaer"])
def test_a_packet_without_events(encoding):
    events = EventStream().decode(packet(b"", encoding))
    assert len(events.t_ns) == len(events.x) == len(events.p) == 0


def test_events_outside_the_sensor_are_left_out():
    words = np.array([64 << 32, 3 << 32 | 48 << 48, 3 << 32], "<u8")
    assert EventStream().decode(packet(words.tobytes(), "mono")).x.tolist() == [3]


@pytest.mark.parametrize(
    ("data", "encoding", "changes", "words"),
    [
        (b"12", "evt2", {}, "'evt2'.*accepted are evt3, mono, libcaer"),
        (b"123", "evt3", {}, "3 bytes"),
        (b"1234", "mono", {}, "words of 8"),
        (b"12", "evt3", {"width": 0}, "0 x 48"),
    ],
)
def test_packets_that_cannot_be_decoded(data, encoding, changes, words):
    with pytest.raises(ConversionError, match=words):
        EventStream().decode(packet(data, encoding, **changes))


def test_the_recorded_packets(shared_data):
    reference = np.load(shared_data / "event_packets/test_events_1/decoded_events.npz")
    stream = EventStream()
    with Bag(shared_data / "event_packets" / "test_events_1") as bag:
        messages = [bag.deserialise(raw) for raw in bag.messages()]
    decoded = [stream.decode(message) for message in messages]
    for name in ("x", "y", "p"):
        found = np.concatenate([getattr(events, name) for events in decoded])
        np.testing.assert_array_equal(found, reference[name])
    assert stream.lost_packets == 0
    # Arrival is the sensor's time and the jitter of USB, whose transfers hold about 4 ms.
    t_ns = np.concatenate([events.t_ns for events in decoded])
    offset_us = (t_ns - t_ns[0]) / 1000 - (reference["t"] - reference["t"][0])
    assert np.abs(offset_us).max() < 5_000
    for events, message in zip(decoded, messages, strict=True):
        assert len(events.t_ns) == 0 or events.t_ns[0] == conversions.stamp_ns(message)
