"""``read_points`` of sensor_msgs_py.point_cloud2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from memorysam_ros.conversions.clouds import structured


def read_points(
    cloud: Any, field_names: Iterable[str] | None = None, skip_nans: bool = False
) -> np.ndarray:
    """The points of a PointCloud2 as a structured array ``(N,)``, one name for each field.

    ``skip_nans`` leaves out points with a NaN in a chosen field, unless the cloud says that it is
    dense. Raises AssertionError for a field that the cloud does not have, as the original does.
    """
    points = structured(cloud)
    if field_names is not None:
        names = list(field_names)
        assert set(names) <= set(points.dtype.names or ()), (
            f"the cloud has the fields {points.dtype.names}, not all of {names}"
        )
        points = points[names]
    if skip_nans and not cloud.is_dense:
        kept = np.ones(len(points), bool)
        for name in points.dtype.names or ():
            kept &= ~np.isnan(points[name])
        points = points[kept]
    return points
