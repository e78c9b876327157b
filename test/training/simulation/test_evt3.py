import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memorysam_core.frames.evt3 import Evt3Decoder
from memorysam_training.simulation.evt3 import encode

EVENT = st.tuples(
    st.integers(0, 5000), st.integers(0, 2047), st.integers(0, 2047), st.integers(0, 1)
)


@given(st.lists(EVENT, min_size=1, max_size=60), st.integers(0, 1 << 24))
def test_decoding_gives_back_what_was_encoded(events, start):
    steps, x, y, p = (np.array(column) for column in zip(*events, strict=True))
    t_us = start + np.cumsum(steps)
    decoded = Evt3Decoder().decode(encode(t_us, x, y, p))
    np.testing.assert_array_equal(decoded.x, x)
    np.testing.assert_array_equal(decoded.y, y)
    np.testing.assert_array_equal(decoded.p, p)
    np.testing.assert_array_equal(np.diff(decoded.t_ns), np.diff(t_us) * 1000)


def test_time_goes_on_over_packets_and_past_the_wrap_of_the_sensor_clock():
    decoder = Evt3Decoder()
    first = decoder.decode(encode(np.array([(1 << 24) - 5]), [3], [4], [1]))
    second = decoder.decode(encode(np.array([(1 << 24) + 7]), [5], [6], [0]))
    assert second.t_ns[0] - first.t_ns[0] == 12_000


def test_unchanged_words_are_sent_once():
    packet = encode(np.array([9, 9, 9]), [1, 2, 3], [8, 8, 8], [1, 1, 0])
    assert len(packet) == 2 * (3 + 3)  # time high, time low, row; then a column for each event


def test_no_events_make_an_empty_packet():
    assert len(encode(np.array([]), [], [], [])) == 0


def test_disorder_and_far_columns_are_refused():
    with pytest.raises(ValueError, match="sort them by time"):
        encode(np.array([2, 1]), [0, 0], [0, 0], [0, 0])
    with pytest.raises(ValueError, match="0 to 2047"):
        encode(np.array([1]), [2048], [0], [0])
