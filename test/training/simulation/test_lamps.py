import numpy as np

from memorysam_training.simulation import lamps

UP = np.float32([[0], [0], [1]])


def test_a_street_lamp_lights_a_pool_of_ground_that_ends():
    lamp = np.float32([[0, 0, 6]])
    ground = np.float32([[0, 5, 15, 21, 23, 100], [0] * 6, [0] * 6])
    strength = lamps._pools(lamp, ground, np.repeat(UP, 6, 1))
    assert (np.diff(strength[:4]) < 0).all()
    assert (strength[4:] == 0).all()
    away = lamps._pools(lamp, ground, -np.repeat(UP, 6, 1))
    assert (away == 0).all()
    both = lamps._pools(np.concatenate([lamp, lamp]), ground, np.repeat(UP, 6, 1))
    np.testing.assert_allclose(both, 2 * strength)


def test_how_many_points_are_near_a_lamp_changes_no_strength():
    """Few are picked out; where most are near, all are worked out."""
    rng = np.random.default_rng(0)
    near = rng.uniform(-20, 20, (3, 50)).astype(np.float32)
    far = rng.uniform(100, 200, (3, 200)).astype(np.float32)
    normal = rng.standard_normal((3, 250)).astype(np.float32)
    lights = np.float32([[0, 0, 6], [10, -4, 8]])
    alone = lamps._pools(lights, near, normal[:, :50])
    assert (alone > 0).any()
    among_others = lamps._pools(lights, np.concatenate([near, far], 1), normal)
    np.testing.assert_array_equal(among_others, np.concatenate([alone, np.zeros(200)]))


def test_headlights_light_the_road_ahead_and_not_the_sky():
    point = np.float32([[15, -15, 15], [0, 0, 0], [0, 0, 8]])
    normal = np.float32([[0, 0, -1], [0, 0, 0], [1, 1, 0]])
    ahead, behind, above = lamps._beams(np.eye(3), point, normal)
    assert ahead > 1e-4
    assert behind == 0
    assert above < 1e-3 * ahead


def test_the_quick_arc_tangent_is_close():
    x = np.linspace(-200, 200, 100_001, dtype=np.float32)
    assert np.abs(lamps._arctan(x) - np.arctan(x)).max() < 0.008
