import numpy as np

from memorysam_training.simulation.noise import SIZE, hashed, sample, smooth_sample

IMAGE = np.random.default_rng(0).random((SIZE, SIZE), np.float32)


def test_a_texture_repeats_and_is_smooth_between_its_texels():
    u, v = np.float32([3.5, 3.5 + SIZE, -SIZE + 3.5]), np.float32([7.5, 7.5 - SIZE, 7.5])
    np.testing.assert_array_equal(sample(IMAGE, u, v), IMAGE[7, 3])
    np.testing.assert_allclose(smooth_sample(IMAGE, u, v), IMAGE[7, 3], rtol=1e-6)
    corner = smooth_sample(IMAGE, np.float32([0]), np.float32([0]))  # between four texels
    np.testing.assert_allclose(corner, IMAGE[[-1, -1, 0, 0], [-1, 0, -1, 0]].mean(), rtol=1e-6)


def test_hashes_are_even_and_tell_neighbours_apart():
    row, column = np.mgrid[-50:50, -50:50]
    values = hashed(row.ravel(), column.ravel())
    np.testing.assert_array_equal(values, hashed(row.ravel().astype(float), column.ravel()))
    assert len(np.unique(values)) > 0.999 * values.size
    assert np.histogram(values, 10, (0, 1))[0].std() < 60
