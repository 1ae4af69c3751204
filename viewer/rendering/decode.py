"""One door to every decoder of pixel data.

pydicom's decoders come first (gdcm, pylibjpeg-openjpeg, pyjpegls, Pillow behind them); imagecodecs takes what they
cannot: 12-bit JPEG Extended, JPEG XL. A decoder's own exception becomes `CannotDecode`; its text is not passed on.
"""

from __future__ import annotations

import os
import threading
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import structlog
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space, get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from viewer.rendering import limits
from viewer.rendering.description import CannotDecode, PixelDescription

log = structlog.get_logger(__name__)

DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
"""Deflated Image Frame Compression (PS3.5 A.4.13): each frame deflated on its own."""

# A decoder holds its frame several times over; this many run at once in one process, the others wait.
_running = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels of one frame.

    Parameters
    ----------
    pixels
        Shape (rows, columns) or (rows, columns, samples), native byte order; color-by-pixel.
    photometric
        Photometric Interpretation of `pixels`: YBR of compressed data became RGB.
    """

    pixels: np.ndarray
    photometric: str

    def little_endian(self) -> bytes:
        """The frame as it stands in Pixel Data under Explicit VR Little Endian, without padding."""
        return np.ascontiguousarray(
            self.pixels.astype(self.pixels.dtype.newbyteorder("<"), copy=False)
        ).tobytes()


def decode(described: PixelDescription, encoded: bytes, *, rgb: bool = True) -> Decoded:
    """Decode one frame.

    Parameters
    ----------
    described
        The instance's Image Pixel module.
    encoded
        One frame as stored: a compressed frame without its item header, or the bytes of one native frame.
    rgb
        Convert YBR to RGB; native YBR stays as it is if False.

    Raises
    ------
    CannotDecode
        If the frame is refused by `viewer.rendering.limits`, no decoder knows the transfer syntax, or all fail.
    """
    limits.check(described, encoded)
    with _running:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _decode(described, encoded, rgb)
        except CannotDecode:
            raise
        except (Exception, SystemError) as error:  # decoders raise whatever they like
            log.warning(
                "frame.undecodable", transfer_syntax=described.transfer_syntax_uid, error=type(error).__name__
            )
            raise CannotDecode("no decoder could read the frame; it may be damaged") from None


def _decode(described: PixelDescription, encoded: bytes, rgb: bool) -> Decoded:
    if described.keyword != "PixelData":
        return _floats(described, encoded)
    if described.native and described.bits_allocated >= 8 and not described.subsampled:
        return _native(described, encoded, rgb)
    if described.transfer_syntax_uid == DEFLATED_FRAMES:
        return _native(described, _inflate(encoded, described.frame_bytes), rgb)
    other = _others(described, encoded)
    if other is not None:
        return other
    return _with_pydicom(described, encoded, rgb)


def _with_pydicom(described: PixelDescription, encoded: bytes, rgb: bool) -> Decoded:
    uid = UID(described.transfer_syntax_uid)
    if described.native:
        source, uid = encoded, ExplicitVRLittleEndian  # 1-bit and subsampled data are made of bytes
    else:
        source = encapsulate([encoded], has_bot=False)
    try:
        decoder = get_decoder(uid)
    except NotImplementedError:
        raise CannotDecode(
            f"there is no decoder for transfer syntax {described.transfer_syntax_uid}"
        ) from None
    image_pixel_module: dict[str, Any] = {
        "rows": described.rows,
        "columns": described.columns,
        "samples_per_pixel": described.samples,
        "photometric_interpretation": described.photometric,
        "planar_configuration": described.planar,
        "pixel_representation": int(described.signed),
        "bits_allocated": described.bits_allocated,
        "bits_stored": described.bits_stored,
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }
    pixels, properties = decoder.as_array(source, index=0, raw=not rgb, **image_pixel_module)
    photometric = str(properties["photometric_interpretation"])
    if described.subsampled and not rgb:
        photometric = "YBR_FULL"  # pydicom repeats the chrominance samples
    return Decoded(pixels, photometric)


def _native(described: PixelDescription, frame: bytes, rgb: bool) -> Decoded:
    """Native samples of whole bytes: a view, no copy, wherever the byte order allows."""
    big = UID(described.transfer_syntax_uid) == ExplicitVRBigEndian
    count = described.rows * described.columns * described.samples
    size = described.bits_allocated // 8
    if len(frame) < count * size:
        raise CannotDecode("the pixel data is shorter than Rows × Columns × Samples per Pixel say")
    if size not in (1, 2, 4, 8):
        raise CannotDecode("Bits Allocated is none of 8, 16, 32, 64")
    kind = "i" if described.signed else "u"
    flat: np.ndarray = np.frombuffer(frame, f"{'>' if big else '<'}{kind}{size}", count)
    pixels: np.ndarray
    if described.samples == 1:
        pixels = flat.reshape(described.rows, described.columns)
    elif described.planar == 1:
        pixels = flat.reshape(described.samples, described.rows, described.columns).transpose(1, 2, 0)
    else:
        pixels = flat.reshape(described.rows, described.columns, described.samples)
    pixels = _without_unused_bits(pixels.astype(pixels.dtype.newbyteorder("="), copy=False), described)
    if rgb and described.photometric == "YBR_FULL" and described.bits_allocated == 8:
        return Decoded(convert_color_space(pixels, "YBR_FULL", "RGB"), "RGB")
    return Decoded(pixels, described.photometric)


def _without_unused_bits(pixels: np.ndarray, described: PixelDescription) -> np.ndarray:
    """Clear what stands above Bits Stored (old overlays, garbage), extending the sign (PS3.5 8.1.1)."""
    unused = described.bits_allocated - described.bits_stored
    if not unused:
        return pixels
    shift = np.array(unused, pixels.dtype)
    return np.right_shift(np.left_shift(pixels, shift), shift)


def _floats(described: PixelDescription, frame: bytes) -> Decoded:
    order = ">" if UID(described.transfer_syntax_uid) == ExplicitVRBigEndian else "<"
    size = 4 if described.keyword == "FloatPixelData" else 8
    count = described.rows * described.columns
    if len(frame) < count * size:
        raise CannotDecode("the float pixel data is shorter than Rows × Columns say")
    pixels = np.frombuffer(frame, f"{order}f{size}", count).reshape(described.rows, described.columns)
    return Decoded(pixels.astype(f"f{size}"), "MONOCHROME2")


def _inflate(encoded: bytes, size: int) -> bytes:
    return zlib.decompressobj(-15).decompress(encoded, size)


def _jpeg12(encoded: bytes) -> np.ndarray:
    pixels: np.ndarray = imagecodecs.jpeg8_decode(encoded)
    return pixels


def _jpeg_xl(encoded: bytes) -> np.ndarray:
    pixels: np.ndarray = imagecodecs.jpegxl_decode(encoded)
    return pixels


_OTHERS: dict[str, Callable[[bytes], np.ndarray]] = dict.fromkeys(limits.JPEG_XL, _jpeg_xl)


def _others(described: PixelDescription, encoded: bytes) -> Decoded | None:
    """What pydicom has no decoder for."""
    reader = _OTHERS.get(described.transfer_syntax_uid)
    if described.transfer_syntax_uid == "1.2.840.10008.1.2.4.51" and described.bits_stored > 8:
        reader = _jpeg12
    if reader is None:
        return None
    pixels = reader(encoded)
    shape = (described.rows, described.columns, described.samples)[: 2 if described.samples == 1 else 3]
    if pixels.shape != shape or pixels.dtype.itemsize * 8 > max(16, described.bits_allocated):
        raise CannotDecode("the decoded frame does not have the size the data set says")
    kind = "i" if described.signed else "u"
    photometric = "RGB" if described.samples == 3 else described.photometric
    return Decoded(pixels.astype(f"{kind}{described.bits_allocated // 8}", copy=False), photometric)
