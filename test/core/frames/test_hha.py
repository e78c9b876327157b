"""HHA: heights and angles of surfaces that are known."""

import numpy as np
import pytest
import torch

from memorysam_core.frames.camera import Camera
from memorysam_core.frames.hha import draw_hha, surface_tilt_deg
from memorysam_core.representations import Hha

CAMERA = Camera(320, 192, 160.0, 160.0, 160.0, 96.0)
BENT = Camera(320, 192, 160.0, 160.0, 160.0, 96.0, "plumb_bob", (-0.15, 0.02, 0, 0, 0))


def room(camera, height=1.6, wall=12.0, ceiling=-3.0):
    """Floor, wall and ceiling, as depth."""
    y = torch.from_numpy(camera.rays()[..., 1].copy())
    z = torch.full_like(y, wall)
    z = torch.where(y > 0, torch.minimum(height / y, z), z)
    return torch.where(y < 0, torch.minimum(ceiling / y, z), z)


@pytest.mark.parametrize("camera", [CAMERA, BENT], ids=["pinhole", "distorted"])
def test_floor_wall_and_ceiling(camera):
    frame = draw_hha(room(camera), camera, Hha()).int()
    floor, wall, ceiling = frame[170:180, 100:220], frame[92:100, 100:220], frame[4:12, 100:220]
    assert floor[..., 1].max() <= 1  # tenths of a metre
    assert (floor[..., 2] - 38).abs().max() <= 2
    assert (wall[..., 2] - 128).abs().max() <= 2
    assert (wall[..., 1].float().mean() - 16).abs() < 2  # the camera's own height
    assert (ceiling[..., 2] - 218).abs().max() <= 2
    assert (ceiling[..., 1] - 46).abs().max() <= 1


def test_red_is_the_logarithmic_depth():
    frame = draw_hha(room(CAMERA), CAMERA, Hha())
    assert frame[96, 160, 0] == 57  # 255 (1 + ln(0.012) / 5.70378) = 57.3


def test_slope_of_a_ramp():
    # A plane through (0, 1.6, 0) that rises by 20 degrees ahead.
    rays = torch.from_numpy(CAMERA.rays().copy())
    z = 1.6 / (rays[..., 1] + np.tan(np.deg2rad(20)))
    tilt = surface_tilt_deg(torch.where(z > 0, z, torch.nan), CAMERA)
    assert (tilt[60:90, 20:140] - 20).abs().max() < 0.5


def test_without_ground_in_view_the_height_of_the_camera_counts():
    frame = draw_hha(torch.full((192, 320), 30.0), CAMERA, Hha(camera_height_m=2.0))
    assert frame[96, 160, 1] in (19, 20)


def test_pixels_without_depth():
    metres = room(CAMERA)
    metres[50:70, 40:80] = torch.nan
    frame = draw_hha(metres, CAMERA, Hha(invalid_level=7))
    assert (frame[50:70, 40:80] == torch.tensor([7, 0, 0], dtype=torch.uint8)).all()
    assert frame[48, 60, 2] > 0
    assert not draw_hha(torch.full((192, 320), torch.nan), CAMERA, Hha()).any()
