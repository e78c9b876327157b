"""Image, CompressedImage and compressedDepth messages to colour and depth arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from memorysam_core.frames.readings import DepthReading, ImageReading, RenderedReading
from memorysam_ros.conversions import compressed
from memorysam_ros.conversions.debayer import debayer
from memorysam_ros.conversions.encodings import COLOUR, DEPTH, UYVY, YUYV, layout
from memorysam_ros.conversions.errors import ConversionError, warn_once
from memorysam_ros.conversions.headers import frame_id
from memorysam_ros.conversions.rows import unpadded

if TYPE_CHECKING:
    from memorysam_core.frames.camera import Camera


def image_reading(message: Any) -> ImageReading:
    """A colour camera's Image or CompressedImage; see :func:`rgb`."""
    return ImageReading(rgb(message))


def rendered_reading(message: Any) -> RenderedReading:
    """An Image that is a frame already, such as rendered events; see :func:`rgb`."""
    return RenderedReading(rgb(message))


def depth_reading(
    message: Any, camera: Camera | None = None, camera_from_depth: np.ndarray | None = None
) -> DepthReading:
    """A depth camera's Image or CompressedImage, with its own camera unless it is registered.

    Takes what :func:`depth_m` takes; numbers that are no distance stay, a reading may hold them.
    """
    return DepthReading(_metres(message), camera, camera_from_depth)


def rgb(message: Any) -> np.ndarray:
    """Colours of an Image or CompressedImage, uint8 ``(H, W, 3)``, R, G, B.

    Grey images are repeated, ``mono16`` is scaled from its full range, Bayer mosaics are
    interpolated. The result may be a read-only view of the message where its bytes are RGB.
    Raises ConversionError where the encoding holds no colours or the data are too short.
    """
    if hasattr(message, "format"):
        return _to_rgb(*compressed.colour(message))
    encoding = str(message.encoding)
    if encoding not in COLOUR:
        raise ConversionError(
            f"image in frame {frame_id(message)!r} has encoding {encoding!r}"
            + (", which holds depth" if encoding in DEPTH else "")
            + f"; a colour image is one of {', '.join(COLOUR)}: "
            "set the driver to one of these, or remap another topic"
        )
    return _to_rgb(pixels(message), encoding)


def depth_m(message: Any) -> np.ndarray:
    """Depth along the optical axis in metres, float32 ``(H, W)``, NaN where there is none.

    REP-118, decided by the encoding alone: ``32FC1`` is metres, ``16UC1`` millimetres with 0
    invalid. ``mono16`` is taken for ``16UC1`` with one warning. NaN, infinities (REP-117) and
    numbers that are not positive become NaN. Takes Image, CompressedImage (16-bit PNG) and
    ``compressedDepth``. Raises ConversionError for any other encoding or data too short.
    """
    metres = np.array(_metres(message), np.float32)
    metres[~((metres > 0) & (metres < np.inf))] = np.nan  # catches NaN as well
    return metres


def _metres(message: Any) -> np.ndarray:
    """Depth in metres, float32 ``(H, W)``, with invalid ones; may be a view of the message."""
    if hasattr(message, "format"):
        values, encoding = compressed.depth(message)
    else:
        encoding = str(message.encoding)
        if encoding not in DEPTH:
            raise ConversionError(
                f"depth image in frame {frame_id(message)!r} has encoding {encoding!r}; accepted "
                "are 32FC1 (metres) and 16UC1 (millimetres): remap the depth topic, not the colour "
                "one, and do not force an encoding on it"
            )
        values = pixels(message)[:, :, 0]
    if encoding == "mono16":
        warn_once(
            f"depth image in frame {frame_id(message)!r} says mono16; taken for 16UC1, millimetres "
            "(REP-118). If its unit is another, convert it in the driver"
        )
    if values.dtype.kind == "u":
        return _METRES[values]
    return values.astype(np.float32, copy=False)


def label_ids(message: Any) -> np.ndarray:
    """Class ids in a label Image or CompressedImage, uint8 or uint16 ``(H, W)``.

    Raises ConversionError unless it is ``mono8``, ``8UC1``, ``mono16`` or ``16UC1``, or a grey PNG.
    """
    if hasattr(message, "format"):
        return np.array(compressed.labels(message))
    encoding = str(message.encoding)
    if encoding not in _LABELS:
        raise ConversionError(
            f"label image in frame {frame_id(message)!r} has encoding {encoding!r}; accepted are "
            f"{', '.join(_LABELS)} with class ids: give the topic of the ids, not of their colours"
        )
    return np.array(pixels(message)[:, :, 0])


def pixels(message: Any) -> np.ndarray:
    """The pixels ``(H, W, channels)`` of an Image as they are, in the machine's byte order.

    A read-only view of the message where possible. Raises ConversionError where the encoding is
    not known or the data are too short for the size.
    """
    encoding, known = str(message.encoding), layout(str(message.encoding))
    if known is None:
        raise ConversionError(
            f"image in frame {frame_id(message)!r} has the unknown encoding {encoding!r}; accepted "
            f"are {', '.join(COLOUR)} and OpenCV's types such as 16UC1: set the driver to one of "
            "these"
        )
    code, channels = known
    dtype = np.dtype((">" if message.is_bigendian else "<") + code)
    height, width, step = int(message.height), int(message.width), int(message.step)
    row = width * channels * dtype.itemsize
    data = np.frombuffer(message.data, np.uint8)
    if not height or not width or step < row or len(data) < step * (height - 1) + row:
        raise ConversionError(
            f"image in frame {frame_id(message)!r} is {width} x {height} {encoding} with step "
            f"{step} and {len(data)} bytes; that takes a width and height above 0, a step of at "
            f"least {row} and {max(step, row) * height} bytes: the publisher fills the message "
            "wrongly"
        )
    plain = unpadded(data, height, row, step).view(dtype).reshape(height, width, channels)
    return plain.astype(dtype.newbyteorder("="), copy=False)


def _to_rgb(values: np.ndarray, encoding: str) -> np.ndarray:
    """Pixels ``(H, W, channels)`` of a colour encoding to uint8 ``(H, W, 3)``."""
    if encoding.startswith("bayer_"):
        return debayer(values[:, :, 0], encoding[len("bayer_") : -1])
    if encoding in YUYV:
        return _rgb_from_yuv(values[:, :, 0], values[:, 0::2, 1], values[:, 1::2, 1])
    if encoding in UYVY:
        return _rgb_from_yuv(values[:, :, 1], values[:, 0::2, 0], values[:, 1::2, 0])
    if encoding == "mono16":
        values = _EIGHT_BITS[values]
    if values.shape[2] == 1:
        return np.repeat(values, 3, axis=2)
    if encoding.startswith("bgr"):
        return np.ascontiguousarray(values[:, :, 2::-1])
    return np.ascontiguousarray(values[:, :, :3])


def _rgb_from_yuv(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """ITU-R BT.601, studio range: Y ``(H, W)``, U and V ``(H, W / 2)``, uint8 to uint8."""
    if y.shape[1] % 2:
        raise ConversionError(
            f"a yuv422 image is {y.shape[1]} pixels wide, but its pixels share colours in pairs; "
            "give an even width"
        )
    luma = 1.164 * np.maximum(y.astype(np.float32) - 16, 0)
    u = np.repeat(u.astype(np.float32) - 128, 2, axis=1)
    v = np.repeat(v.astype(np.float32) - 128, 2, axis=1)
    channels = (luma + 1.596 * v, luma - 0.813 * v - 0.391 * u, luma + 2.018 * u)
    return np.stack([np.clip(c + 0.5, 0, 255).astype(np.uint8) for c in channels], axis=2)


_LABELS = ("mono8", "8UC1", "mono16", "16UC1")
_VALUES_16 = np.arange(1 << 16)
_EIGHT_BITS = ((_VALUES_16 * 255 + 32767) // 65535).astype(np.uint8)
_METRES = (_VALUES_16 / 1000).astype(np.float32)
_METRES[0] = np.nan
