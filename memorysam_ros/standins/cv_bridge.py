"""``CvBridge`` of cv_bridge: the two conversions between an Image and an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from memorysam_ros.conversions.encodings import layout
from memorysam_ros.conversions.errors import ConversionError
from memorysam_ros.conversions.images import pixels, rgb
from memorysam_ros.conversions.outputs import Outputs, ros_messages

_GREY = np.array([4899, 9617, 1868], np.uint32)  # ITU-R BT.601 luma, in 1 / 16384, as OpenCV


class CvBridgeError(TypeError):
    """An image that cannot be converted."""


class CvBridge:
    """Converts between sensor_msgs/Image and arrays ``(H, W)`` or ``(H, W, channels)``."""

    def imgmsg_to_cv2(self, img_msg: Any, desired_encoding: str = "passthrough") -> np.ndarray:
        """The pixels as they are, or as ``rgb8``, ``bgr8`` or ``mono8``. Raises CvBridgeError."""
        try:
            if desired_encoding in ("passthrough", str(img_msg.encoding)):
                plain = pixels(img_msg)
                return plain[:, :, 0] if plain.shape[2] == 1 else plain
            colours = rgb(img_msg)
        except ConversionError as error:
            raise CvBridgeError(str(error)) from error
        if desired_encoding == "rgb8":
            return colours
        if desired_encoding == "bgr8":
            return np.ascontiguousarray(colours[:, :, ::-1])
        if desired_encoding == "mono8":
            return ((colours @ _GREY + (1 << 13)) >> 14).astype(np.uint8)
        raise CvBridgeError(
            f"no conversion from {img_msg.encoding!r} to {desired_encoding!r}; accepted are "
            "passthrough, rgb8, bgr8 and mono8 (all of them with the genuine cv_bridge)"
        )

    def cv2_to_imgmsg(
        self, cvim: np.ndarray, encoding: str = "passthrough", header: Any = None
    ) -> Any:
        """An array as an Image of rclpy. Raises CvBridgeError where they do not fit."""
        if not isinstance(cvim, np.ndarray):
            raise TypeError(f"got a {type(cvim).__name__}; give a numpy array")
        channels = cvim.shape[2] if cvim.ndim == 3 else 1
        plain = _cv_type(cvim.dtype, channels)
        named = plain if encoding == "passthrough" else encoding
        if layout(named) != (cvim.dtype.str[1:], channels):
            raise CvBridgeError(f"encoding {encoding!r} does not fit an image of type {plain}")
        outputs = Outputs(ros_messages)
        return outputs.image(header or outputs.header(0, ""), cvim, named)


def _cv_type(dtype: np.dtype, channels: int) -> str:
    depths = {"u": "U", "i": "S", "f": "F"}
    return f"{dtype.itemsize * 8}{depths[dtype.kind]}C{channels}"
