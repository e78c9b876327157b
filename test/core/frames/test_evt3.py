"""EVT3: hand-made words, and packets cut anywhere."""

import sys
import types

import numpy as np
import pytest

from memorysam_core.frames import evt3
from memorysam_core.frames.evt3 import WRAP_US, Evt3Decoder, evt3_decoder


def words(*values: int) -> bytes:
    return np.array(values, "<u2").tobytes()


def row(y):
    return 0x0000 | y


def single(x, p):
    return 0x2000 | p << 11 | x


def base(x, p):
    return 0x3000 | p << 11 | x


def time(t_us):
    return 0x8000 | (t_us >> 12) % 4096, 0x6000 | t_us % 4096


def as_tuples(events):
    return list(zip(events.t_ns // 1000, events.x, events.y, events.p, strict=True))


def test_single_events():
    data = words(*time(5000), row(7), single(3, 1), single(4, 0), row(8), single(3, 0))
    events = Evt3Decoder(640, 480).decode(data)
    assert as_tuples(events) == [(5000, 3, 7, 1), (5000, 4, 7, 0), (5000, 3, 8, 0)]
    assert (events.t_ns.dtype, events.x.dtype, events.p.dtype) == (np.int64, np.uint16, np.uint8)


def test_vectors_go_on_where_the_last_one_ended():
    data = words(
        *time(10), row(1), base(100, 1), 0x4000 | 0b100000000001, 0x4000 | 0b10, 0x5000 | 0b10000001
    )
    events = Evt3Decoder(640, 480).decode(data)
    assert [int(x) for x in events.x] == [100, 111, 113, 124, 131]
    assert set(events.p) == {1}


def test_vectors_and_single_events_keep_their_order():
    data = words(*time(10), row(1), base(0, 0), 0x5000 | 0b11, single(50, 1), 0x5000 | 0b1)
    assert [int(x) for x in Evt3Decoder(640, 480).decode(data).x] == [0, 1, 50, 8]


def test_vectors_do_not_reach_past_the_sensor():
    data = words(*time(10), row(1), base(636, 1), 0x4000 | 0xFFF)
    assert [int(x) for x in Evt3Decoder(640, 480).decode(data).x] == [636, 637, 638, 639]


def stream() -> np.ndarray:
    rng = np.random.default_rng(1)
    parts, t = [], WRAP_US - 20_000
    for _ in range(400):
        t += int(rng.integers(1, 300))
        parts += [*time(t), row(int(rng.integers(480))), single(int(rng.integers(640)), 1)]
        parts += [base(int(rng.integers(600)), 0), 0x4000 | int(rng.integers(4096))]
        parts += [0x4000 | int(rng.integers(4096)), 0x5000 | int(rng.integers(256))]
    return np.array(parts, "<u2")


def test_ours_decodes_what_event_camera_py_decodes():
    pytest.importorskip("event_camera_py")
    theirs, ours = evt3_decoder(640, 480), Evt3Decoder(640, 480)
    data = stream()
    for i in range(0, len(data), 64):
        expected, events = (d.decode(data[i : i + 64].tobytes()) for d in (theirs, ours))
        assert as_tuples(events) == as_tuples(expected)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 1000])
def test_packets_may_be_cut_between_any_two_words(size):
    data = stream()
    whole = Evt3Decoder(640, 480).decode(data.tobytes())
    decoder = Evt3Decoder(640, 480)
    pieces = [decoder.decode(data[i : i + size].tobytes()) for i in range(0, len(data), size)]
    for name in ("t_ns", "x", "y", "p"):
        joined = np.concatenate([getattr(piece, name) for piece in pieces])
        np.testing.assert_array_equal(joined, getattr(whole, name))
    assert len(whole) > 400


def test_time_goes_on_past_the_wrap():
    t = Evt3Decoder(640, 480).decode(stream().tobytes()).t_ns
    assert (np.diff(t) >= 0).all()
    assert t[0] < WRAP_US * 1000 < t[-1]


def test_a_small_step_back_is_no_wrap():
    data = words(*time(5 << 12), row(0), single(1, 1), *time(4 << 12), single(2, 1))
    assert [int(t) for t in Evt3Decoder(640, 480).decode(data).t_ns] == [20480000, 16384000]


def test_a_stream_joined_in_its_middle_waits_for_what_it_needs():
    decoder = Evt3Decoder(640, 480)
    assert len(decoder.decode(words(single(3, 1), 0x4000 | 0xFFF, row(2), single(4, 1)))) == 0
    assert len(decoder.decode(words(0x6001, single(3, 1)))) == 0  # the high bits are still unknown
    events = decoder.decode(words(0x8000, 0x6002, 0x4000 | 0xFFF, single(9, 1)))
    assert as_tuples(events) == [(2, 9, 2, 1)]  # and the vector has no place


def test_other_words_and_broken_packets_are_passed_over():
    data = words(*time(1), 0xA001, 0xE123, 0x7001, row(5), single(6, 1)) + b"\x01"
    assert as_tuples(Evt3Decoder(640, 480).decode(data)) == [(1, 6, 5, 1)]
    assert len(Evt3Decoder(640, 480).decode(b"")) == 0


def test_the_installed_decoder_is_preferred(monkeypatch):
    class Decoder:
        def decode_bytes(self, encoding, width, height, time_base, packet):
            assert (encoding, width, height, packet) == ("evt3", 640, 480, b"\x01\x02")

        def get_cd_events(self):
            kind = [("x", "u2"), ("y", "u2"), ("p", "i2"), ("t", "i4")]
            return np.array([(3, 4, 1, 99)], kind)

    fake = types.SimpleNamespace(Decoder=Decoder)
    monkeypatch.setattr(evt3.importlib, "import_module", lambda name: fake)
    events = evt3_decoder(640, 480).decode(np.array([1, 2], np.uint8))
    assert as_tuples(events) == [(99, 3, 4, 1)]


def test_ours_is_used_where_none_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "event_camera_py", None)  # the import fails
    assert isinstance(evt3_decoder(640, 480), Evt3Decoder)
