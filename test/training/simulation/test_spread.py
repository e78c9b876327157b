import numpy as np

from memorysam_training.simulation.spread import Spread

SHAPE = (6, 9)
ALL = np.arange(SHAPE[0] * SHAPE[1])


def spread(image, pixel, every=None):
    """What the pixels are given when the image is worked out only where it was asked for."""
    every = np.zeros(len(pixel), bool) if every is None else every
    work = Spread(pixel, SHAPE, every)
    return work, work(image.reshape(3, -1)[:, pixel[work.few]])


def test_a_quarter_of_the_pixels_gives_a_slope_to_all_of_them():
    row, column = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.float32([row, column, 3 * row - column])
    work, light = spread(image, ALL)
    assert len(work.few) == 3 * 5
    inside = light.reshape(3, *SHAPE)[:, :5]  # the last row has neighbours above only
    np.testing.assert_allclose(inside, image[:, :5], atol=1e-6)


def test_pixels_take_nothing_from_where_no_reflection_is():
    image = np.full((3, *SHAPE), 100, np.float32)
    image[:, :, :4] = 1
    pixel = ALL.reshape(SHAPE)[:, :4].ravel()
    _, light = spread(image, pixel)
    np.testing.assert_array_equal(light, 1)


def test_who_has_no_neighbour_and_who_must_be_exact_is_worked_out():
    image = np.random.default_rng(0).random((3, *SHAPE), np.float32)
    lonely, water = 1 * 9 + 1, [3 * 9 + 5, 3 * 9 + 6, 4 * 9 + 5, 4 * 9 + 6]
    pixel = np.array([lonely, *water])
    work, light = spread(image, pixel, np.isin(pixel, water))
    np.testing.assert_array_equal(work.few, np.arange(5))
    np.testing.assert_array_equal(light, image.reshape(3, -1)[:, pixel])
