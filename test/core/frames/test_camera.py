"""Cameras: against OpenCV, as inverses of each other, and where lenses end."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memorysam_core.frames.camera import Camera
from memorysam_core.frames.distortion import largest_radius

PLUMB_BOB = (-0.31, 0.11, 0.0007, -0.0005, -0.02)
RATIONAL = (0.62, -0.41, 0.0003, -0.0002, 0.05, 0.98, -0.37, 0.01)
EQUIDISTANT = (-0.013, 0.021, -0.011, 0.002)
CAMERAS = {
    "pinhole": Camera(1280, 720, 810.0, 805.0, 633.0, 352.0),
    "plumb_bob": Camera(1280, 720, 810.0, 805.0, 633.0, 352.0, "plumb_bob", PLUMB_BOB),
    "rational_polynomial": Camera(
        1280, 720, 610.0, 612.0, 638.0, 361.0, "rational_polynomial", RATIONAL
    ),
    "equidistant": Camera(1280, 960, 700.0, 702.0, 641.0, 477.0, "equidistant", EQUIDISTANT),
    "equidistant, zeros": Camera(1280, 960, 700.0, 702.0, 641.0, 477.0, "equidistant"),
}


def points_in_front(count: int = 2000, spread: float = 0.6) -> np.ndarray:
    rng = np.random.default_rng(0)
    z = rng.uniform(0.5, 60, count)
    return np.column_stack((rng.uniform(-spread, spread, (count, 2)) * z[:, None], z))


@pytest.mark.parametrize("model", CAMERAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_projection_agrees_with_opencv(model, dtype):
    camera, points = CAMERAS[model], points_in_front().astype(dtype)
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    d = np.array(camera.distortion)
    still = np.zeros(3)
    exact = points.astype(np.float64)[:, None]
    if camera.model == "equidistant":
        expected, _ = cv2.fisheye.projectPoints(exact, still, still, k, d)
    else:
        expected, _ = cv2.projectPoints(exact, still, still, k, d if len(d) else None)
    uv, inside = camera.project(points)
    assert uv.dtype == dtype
    np.testing.assert_allclose(uv, expected[:, 0], atol=1e-3)
    u, v = expected[:, 0].T
    expected_inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    assert np.array_equal(inside, expected_inside)


@pytest.mark.parametrize("model", CAMERAS)
@given(
    u=st.floats(0, 1, exclude_max=True),
    v=st.floats(0, 1, exclude_max=True),
    z=st.floats(0.1, 200),
)
@settings(max_examples=60)
def test_back_projection_is_the_inverse(model, u, v, z):
    camera = CAMERAS[model]
    uv = np.array([[u * camera.width, v * camera.height]])
    point = camera.unproject(uv, np.array([z]))
    assert point[0, 2] == pytest.approx(z)
    again, inside = camera.project(point)
    assert np.abs(again - uv).max() < 1e-4
    if 1e-6 < u < 1 - 1e-6 and 1e-6 < v < 1 - 1e-6:  # on the border, rounding may fall outside
        assert inside.all()


@given(
    st.lists(st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 3), min_size=1, max_size=50),
    st.sampled_from(sorted(CAMERAS)),
)
def test_nothing_behind_the_camera_appears(points, model):
    points = np.array(points, np.float32)
    uv, inside = CAMERAS[model].project(points)
    behind = points[:, 2] <= 0
    assert not inside[behind].any()
    assert np.isnan(uv[behind]).all()


def test_points_far_outside_do_not_fold_back_into_the_image():
    camera = CAMERAS["plumb_bob"]
    limit = largest_radius(camera.model, camera.distortion)
    assert 1.0 < limit < 2.0
    # OpenCV puts this point, 70 degrees off the axis, well inside the image.
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    far = np.array([[np.tan(np.deg2rad(62)), 0.0, 1.0]])
    folded, _ = cv2.projectPoints(far, np.zeros(3), np.zeros(3), k, np.array(camera.distortion))
    assert 0 < folded[0, 0, 0] < camera.width
    uv, inside = camera.project(far)
    assert not inside.any()
    assert np.isnan(uv).all()


def test_a_lens_that_never_folds_has_no_limit():
    assert largest_radius("plumb_bob", (0.1, 0.0, 0.0, 0.0, 0.0)) == float("inf")


def test_pixels_without_a_ray_are_nan():
    strong = Camera(1000, 1000, 400, 400, 500, 500, "plumb_bob", (-0.3, 0.0, 0.0, 0.0, 0.0))
    rays = strong.rays()
    assert np.isfinite(rays[500, 500]).all()
    assert np.isnan(rays[0, 0]).all()  # 1.77 from the axis, where the lens reaches 0.7


def test_rays_go_through_pixel_centres():
    camera = Camera(4, 2, 2.0, 2.0, 2.0, 1.0)
    rays = camera.rays()
    assert rays.shape == (2, 4, 3)
    np.testing.assert_allclose(rays[0, 0], [(0.5 - 2) / 2, (0.5 - 1) / 2, 1])
    uv, inside = camera.project(rays.reshape(-1, 3))
    assert inside.all()
    np.testing.assert_allclose(uv[:4, 0], [0.5, 1.5, 2.5, 3.5])


@pytest.mark.parametrize("model", CAMERAS)
def test_resizing_scales_the_image_and_nothing_else(model):
    camera, points = CAMERAS[model], points_in_front(200, 0.3)
    uv, _ = camera.project(points)
    small, _ = camera.resized(640, 180).project(points)
    np.testing.assert_allclose(small, uv * (640 / camera.width, 180 / camera.height), atol=1e-9)


def test_a_centred_camera_stays_centred():
    deliver = Camera(1042, 1042, 512, 512, 521, 521)
    assert deliver.resized(1024, 1024).cx == 512


def test_cropping_and_binning():
    camera = Camera(1280, 720, 800, 800, 640, 360)
    roi = camera.cropped(100, 50, 640, 480)
    assert (roi.width, roi.height, roi.cx, roi.cy, roi.fx) == (640, 480, 540, 310, 800)
    binned = roi.binned(2, 4)
    assert (binned.width, binned.height, binned.fx, binned.fy) == (320, 120, 400, 200)
    assert (binned.cx, binned.cy) == (270, 77.5)


K = [800.0, 0, 640, 0, 801, 360, 0, 0, 1]
P = [750.0, 0, 630, -75.0, 0, 750, 350, 0, 0, 0, 1, 0]
D = [-0.3, 0.1, 0.0, 0.0, 0.0]


def test_a_raw_image_uses_k_and_d():
    camera = Camera.from_info(K, D, P, "plumb_bob", 1280, 720, rectified=False)
    assert (camera.fx, camera.fy, camera.model) == (800, 801, "plumb_bob")
    assert camera.distortion == tuple(D)


@pytest.mark.parametrize("d", [[], [0.0] * 4])
def test_zeros_bend_nothing_but_in_an_equidistant_lens(d):
    given = K, d, P
    camera = Camera.from_info(*given, "equidistant", 1280, 720, rectified=False)
    assert (camera.model, camera.distortion) == ("equidistant", (0.0,) * 4)
    beside = np.array([[10.0, 0.0, 10.0]])  # 45 degrees off the axis
    assert camera.project(beside)[0][0, 0] == pytest.approx(640 + 800 * np.pi / 4)
    flat = Camera.from_info(*given, "rational_polynomial", 1280, 720, rectified=False)
    assert flat.model == "pinhole"


def test_a_rectified_image_uses_p_with_its_baseline():
    camera = Camera.from_info(K, D, P, "plumb_bob", 1280, 720, rectified=True)
    assert camera.model == "pinhole"
    point = np.array([[1.0, 2.0, 10.0]])
    expected = np.array(P).reshape(3, 4) @ [1, 2, 10, 1]
    uv, _ = camera.project(point)
    np.testing.assert_allclose(uv[0], expected[:2] / expected[2])
    np.testing.assert_allclose(camera.unproject(uv, np.array([10.0])), point)


def test_region_of_interest_is_cut_before_binning():
    camera = Camera.from_info(
        K, [], P, "plumb_bob", 1280, 720, rectified=False, binning=(2, 2), roi=(100, 40, 800, 600)
    )
    assert (camera.width, camera.height, camera.model) == (400, 300, "pinhole")
    assert (camera.fx, camera.cx, camera.cy) == (400, 270, 160)


@pytest.mark.parametrize("rectified", [True, False])
def test_an_uncalibrated_camera_is_refused(rectified):
    with pytest.raises(ValueError, match="all zero: the camera is uncalibrated"):
        Camera.from_info([0] * 9, [], [0] * 12, "plumb_bob", 640, 480, rectified=rectified)


def test_a_projection_without_focal_lengths_is_refused():
    half_filled = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    with pytest.raises(ValueError, match=r"fx 0\.0, fy 0\.0 pixels; give positive ones"):
        Camera.from_info(K, D, half_filled, "plumb_bob", 1280, 720, rectified=True)


def test_unknown_models_and_too_many_coefficients_are_refused():
    with pytest.raises(ValueError, match="plumb_bob, rational_polynomial, equidistant"):
        Camera(640, 480, 500, 500, 320, 240, "fov", (0.9,))
    with pytest.raises(ValueError, match="takes 5 distortion coefficients, got 8"):
        Camera(640, 480, 500, 500, 320, 240, "plumb_bob", RATIONAL)
    padded = Camera(640, 480, 500, 500, 320, 240, "plumb_bob", (-0.1, 0.02, 0, 0, 0, 0, 0, 0))
    assert padded.distortion == (-0.1, 0.02, 0, 0, 0)


def test_torch_in_torch_out():
    camera = CAMERAS["plumb_bob"]
    points = torch.from_numpy(points_in_front(10))
    uv, inside = camera.project(points)
    assert isinstance(uv, torch.Tensor)
    assert inside.dtype == torch.bool
    np.testing.assert_array_equal(uv.numpy(), camera.project(points.numpy())[0])
