"""CompressedImage messages: JPEG, PNG, and the ``compressedDepth`` of image_transport.

Pillow decodes everywhere, rather than whatever is installed: two decoders may differ by a grey
level, and a bag must give the same labels on every machine.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np

from memorysam_ros.conversions.errors import ConversionError
from memorysam_ros.conversions.headers import frame_id

_PNG = b"\x89PNG\r\n\x1a\n"
_DEPTH_HEADER = struct.Struct("<iff")
"""Of compressed_depth_image_transport: format, then the two parameters of its quantisation."""


def colour(message: Any) -> tuple[np.ndarray, str]:
    """Pixels ``(H, W, channels)`` and their encoding, of a colour camera's CompressedImage."""
    source, _, how = str(message.format).partition(";")
    if "compressedDepth" in how:
        raise ConversionError(
            f"image in frame {frame_id(message)!r} has format {message.format!r}, which holds "
            "depth; remap a colour topic to the image input"
        )
    pixels = _decode(message, bytes(memoryview(message.data)))
    if pixels.dtype == np.uint16:
        return pixels, "mono16"
    if pixels.shape[2] == 1:
        return pixels, source.strip() if source.startswith("bayer_") else "mono8"
    # The transport hands its encoder BGR unless its format says "compressed rgb8"; then red and
    # blue are swapped in the file.
    return pixels, "bgr8" if "compressed rgb" in how else "rgb8"


def depth(message: Any) -> tuple[np.ndarray, str]:
    """Depth ``(H, W)``, uint16 millimetres or float32 metres, and its REP-118 encoding."""
    source, _, how = str(message.format).partition(";")
    encoding, data = source.strip(), bytes(memoryview(message.data))
    if "compressedDepth" not in how:
        pixels = _decode(message, data)
        if pixels.dtype != np.uint16:
            raise ConversionError(
                f"depth image in frame {frame_id(message)!r} has format {message.format!r} with "
                f"{pixels.shape[2]} channels of 8 bits; accepted are 16-bit PNG and "
                "compressedDepth: JPEG destroys depth, so choose the transport compressedDepth"
            )
        return pixels[:, :, 0], "16UC1"
    if encoding not in ("16UC1", "32FC1", "mono16") or data[12:20] != _PNG:
        raise ConversionError(
            f"depth image in frame {frame_id(message)!r} has format {message.format!r}; accepted "
            "are '16UC1; compressedDepth png' and '32FC1; compressedDepth png': "
            "set the publisher's parameter 'format' to png"
        )
    pixels = _decode(message, data[12:])[:, :, 0]
    if encoding != "32FC1":
        return pixels.astype(np.uint16, copy=False), encoding
    _, scale, shift = _DEPTH_HEADER.unpack_from(data)
    with np.errstate(divide="ignore", invalid="ignore"):
        metres = np.float32(scale) / (pixels.astype(np.float32) - np.float32(shift))
    return np.where(pixels == 0, np.float32(np.nan), metres), encoding


def labels(message: Any) -> np.ndarray:
    """Class ids ``(H, W)``, uint8 or uint16, of a label image as PNG."""
    data = bytes(memoryview(message.data))
    pixels = _decode(message, data)
    if not data.startswith(_PNG) or pixels.shape[2] != 1:
        raise ConversionError(
            f"label image in frame {frame_id(message)!r} has format {message.format!r} with "
            f"{pixels.shape[2]} channels; accepted is a grey PNG of class ids: JPEG makes other "
            "ids of them, and colours are none"
        )
    return pixels[:, :, 0]


def _decode(message: Any, data: bytes) -> np.ndarray:
    """A JPEG or PNG to uint8 or uint16 ``(H, W, channels)``; colours are R, G, B."""
    from PIL import Image, UnidentifiedImageError

    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        if image.mode not in ("L", "RGB", "I;16"):
            image = image.convert("I;16" if image.mode in ("I", "I;16B") else "RGB")
        pixels = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConversionError(
            f"compressed image in frame {frame_id(message)!r}, format {message.format!r}, "
            f"{len(data)} bytes, is no JPEG or PNG that can be read ({error}); accepted are jpeg "
            "and png: check the publisher's format and for truncated messages"
        ) from None
    return pixels if pixels.ndim == 3 else pixels[:, :, None]
