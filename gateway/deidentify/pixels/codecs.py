"""One encapsulated frame: bytes of a code stream to stored values and back (PS3.5 8.2, A.4).

Components are never converted: what the code stream holds is what comes out, and goes in again, so a frame keeps the
Photometric Interpretation its header states. Lossless transfer syntaxes are encoded losslessly and proven so by
decoding; lossy ones in kind, JPEG with the quantisation tables the frame had.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from PIL import Image, JpegImagePlugin

if TYPE_CHECKING:
    from gateway.deidentify.pixels.stored import Layout

_JPEG = "1.2.840.10008.1.2.4."
RLE = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
JPEG_DCT = frozenset({f"{_JPEG}50", f"{_JPEG}51", f"{_JPEG}53", f"{_JPEG}55"})
JPEG_LOSSLESS = frozenset({f"{_JPEG}57", f"{_JPEG}70"})
JPEG_LS = frozenset({f"{_JPEG}80", f"{_JPEG}81"})
JPEG_2000 = frozenset({f"{_JPEG}90", f"{_JPEG}91", f"{_JPEG}92", f"{_JPEG}93"})
HTJ2K = frozenset({f"{_JPEG}201", f"{_JPEG}202", f"{_JPEG}203"})
JPEG_XL = frozenset({f"{_JPEG}110", f"{_JPEG}111", f"{_JPEG}112"})
SYNTAXES = JPEG_DCT | JPEG_LOSSLESS | JPEG_LS | JPEG_2000 | HTJ2K | JPEG_XL | {RLE, DEFLATED_FRAMES}

_RECOMPRESSED_JPEG = f"{_JPEG}111"
"""JPEG XL of a JPEG: what it stands for cannot be changed and stay one."""

_TOLERANCE = 48.0
"""Largest mean difference, in stored values of 8 bits, between what a lossy frame was to hold and what it holds."""


class Unencodable(ValueError):
    """A frame of this kind cannot be written again here."""


def decode(syntax: str, data: bytes, layout: Layout) -> np.ndarray:
    """Stored values of one frame, of the layout's type.

    Raises
    ------
    Exception
        Whatever the codec raises: every one means that the frame cannot be read.
    """
    _check_declared(syntax, data, layout)
    if syntax == RLE:
        return _decode_rle(data, layout)
    if syntax == DEFLATED_FRAMES:
        size = int(np.prod(layout.shape)) * layout.dtype.itemsize
        plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size)
        return np.frombuffer(plain, layout.dtype).reshape(layout.shape)
    if syntax in JPEG_DCT | JPEG_LOSSLESS:
        values = _decode_jpeg(data, layout)
    elif syntax in JPEG_LS:
        values = imagecodecs.jpegls_decode(data)
    elif syntax in JPEG_2000:
        values = imagecodecs.jpeg2k_decode(data)
    elif syntax in HTJ2K:
        values = imagecodecs.htj2k_decode(data)
    else:
        values = imagecodecs.jpegxl_decode(data)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    return _as_stored(values, layout)


def encode(syntax: str, values: np.ndarray, original: bytes, layout: Layout) -> bytes:
    """A frame again, from stored values.

    Parameters
    ----------
    original
        The frame's bytes before: a lossy one is made like it.

    Raises
    ------
    Unencodable
        Not for this transfer syntax, or not exactly.
    """
    try:
        if syntax in JPEG_DCT:  # noqa: SIM108 - two lines read better than one
            made = _encode_jpeg(values, original, layout)
        else:
            made = _encoder(syntax)(values, layout)
        again = decode(syntax, made, layout)
    except Unencodable:
        raise
    except Exception as error:
        raise Unencodable(f"the encoder refuses the frame ({type(error).__name__})") from None
    if syntax in JPEG_DCT:
        difference = np.abs(again.astype(np.int32) - values.astype(np.int32)).mean()
        if difference > _TOLERANCE * (1 << max(0, layout.stored - 8)) / 8:
            raise Unencodable("the frame would not look as it should")
    elif not np.array_equal(again, values):
        raise Unencodable("the frame would not be exact")
    return made


def is_lossy(syntax: str) -> bool:
    """Whether writing a frame again in this transfer syntax loses something."""
    return syntax in JPEG_DCT


def stores_ybr(data: bytes, layout: Layout) -> bool:
    """Whether the components of a frame are luminance and chrominance, so that black is not zero."""
    if layout.samples != 3:
        return False
    if data[:2] == b"\xff\xd8" and layout.photometric == "RGB":
        return data[6:10] == b"JFIF"  # says RGB, holds YCbCr: a common mistake of senders
    return layout.photometric in ("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420")


def _check_declared(syntax: str, data: bytes, layout: Layout) -> None:
    """Refuse a code stream that is larger than the header says, before a decoder allocates for it."""
    if syntax in JPEG_2000 | HTJ2K:
        at = data.find(b"\xff\x4f\xff\x51")
        if at < 0 or at > 4096 or len(data) < at + 44:
            raise ValueError("no JPEG 2000 code stream")
        width, height, x0, y0 = struct.unpack_from(">4I", data, at + 8)
        tile_width, tile_height = struct.unpack_from(">2I", data, at + 24)
        components = struct.unpack_from(">H", data, at + 40)[0]
        if (height - y0, width - x0, components) != (layout.rows, layout.columns, layout.samples):
            raise ValueError("other dimensions than the header's")
        if not tile_width or not tile_height or -(-width // tile_width) * -(-height // tile_height) > 65535:
            raise ValueError("an impossible number of tiles")
    elif data[:2] == b"\xff\xd8" and _jpeg_dimensions(data) != (layout.rows, layout.columns, layout.samples):
        raise ValueError("other dimensions than the header's")


def _jpeg_dimensions(data: bytes) -> tuple[int, int, int]:
    position = 2
    while position + 10 <= len(data):
        if data[position] != 0xFF:
            raise ValueError("no JPEG marker where one must be")
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            height, width, components = struct.unpack_from(">HHB", data, position + 5)
            return height, width, components
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    raise ValueError("no frame header")


def _as_stored(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Bring a decoder's type to that of the stored values; signed ones may come as their bit patterns."""
    if values.dtype == layout.dtype:
        return values
    if layout.signed and values.dtype.kind == "u":
        wide = values.astype(np.int64)
        sign = 1 << (layout.stored - 1)
        return (((wide & ((1 << layout.stored) - 1)) ^ sign) - sign).astype(layout.dtype)
    return values.astype(layout.dtype)


def _as_pattern(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Stored values as the unsigned bit patterns JPEG knows, in the smallest type."""
    if layout.signed:
        values = values.astype(np.int64) & ((1 << layout.stored) - 1)
    return np.ascontiguousarray(values.astype(np.uint8 if layout.stored <= 8 else np.uint16))


# --- JPEG ------------------------------------------------------------------------------------------------------------


def _unconverted(layout: Layout) -> dict[str, Any]:
    return {"colorspace": "YCBCR", "outcolorspace": "YCBCR"} if layout.samples == 3 else {}


def _decode_jpeg(data: bytes, layout: Layout) -> np.ndarray:
    try:
        return imagecodecs.jpeg8_decode(data, **_unconverted(layout))
    except imagecodecs.Jpeg8Error:
        return imagecodecs.jpegsof3_decode(data)  # lossless streams libjpeg has no predictor for


def _encode_jpeg(values: np.ndarray, original: bytes, layout: Layout) -> bytes:
    """JPEG with the quantisation tables and subsampling of the frame it stands for."""
    pattern = _as_pattern(values, layout)
    if pattern.dtype != np.uint8 or layout.stored > 8:
        return bytes(imagecodecs.jpeg8_encode(pattern, 98, bitspersample=12))
    with Image.open(io.BytesIO(original)) as before:
        if not isinstance(before, JpegImagePlugin.JpegImageFile):
            raise Unencodable("the frame is no JPEG file")
        settings: dict[str, Any] = {"qtables": before.quantization}
        if layout.samples == 3:
            settings["subsampling"] = JpegImagePlugin.get_sampling(before)
            if settings["subsampling"] < 0:
                settings["subsampling"] = 0
        is_rgb = before.info.get("adobe_transform") == 0 or [layer[0] for layer in before.layer] == [
            82,
            71,
            66,
        ]
    if layout.samples == 1:
        picture = Image.fromarray(pattern)
    elif is_rgb:
        picture = Image.fromarray(pattern, "RGB")
        settings |= {"keep_rgb": True, "subsampling": 0}
    else:
        picture = Image.merge(
            "YCbCr", [Image.fromarray(np.ascontiguousarray(pattern[..., n])) for n in range(3)]
        )
    target = io.BytesIO()
    picture.save(target, "JPEG", **settings)
    return target.getvalue()


def _encode_jpeg_lossless(values: np.ndarray, layout: Layout) -> bytes:
    settings: dict[str, Any] = {}
    if layout.samples == 3:
        settings = {"colorspace": "RGB", "outcolorspace": "RGB"}  # whatever they are, they are not converted
    bits = max(2, layout.stored)
    return bytes(
        imagecodecs.jpeg8_encode(
            _as_pattern(values, layout), lossless=True, predictor=1, bitspersample=bits, **settings
        )
    )


# --- the others ------------------------------------------------------------------------------------------------------


def _encode_jpegls(values: np.ndarray, layout: Layout) -> bytes:
    pattern = _as_pattern(values, layout)
    return bytes(imagecodecs.jpegls_encode(pattern, out=2 * pattern.nbytes + 65536))


def _encode_jpeg2000(values: np.ndarray, layout: Layout) -> bytes:
    narrow = values.astype(f"{'i' if layout.signed else 'u'}{1 if layout.stored <= 8 else 2}")
    return bytes(
        imagecodecs.jpeg2k_encode(
            narrow,
            reversible=True,
            codecformat="J2K",
            bitspersample=layout.stored,
            mct=layout.photometric in ("YBR_RCT", "YBR_ICT"),
        )
    )


def _encode_htj2k(values: np.ndarray, layout: Layout) -> bytes:
    if layout.stored not in (8, 16) or layout.stored != layout.allocated:
        raise Unencodable("HTJ2K of a precision that is no whole number of bytes")
    return bytes(imagecodecs.htj2k_encode(values, reversible=True, tlm=True))


def _encode_jpegxl(values: np.ndarray, layout: Layout) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(_as_pattern(values, layout), lossless=True))


def _encode_deflated(values: np.ndarray, _layout: Layout) -> bytes:
    packer = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
    return packer.compress(np.ascontiguousarray(values).tobytes()) + packer.flush()


def _encode_rle(values: np.ndarray, layout: Layout) -> bytes:
    """RLE Lossless (PS3.5 Annex G): a segment for each byte of each sample, the most significant first."""
    planes = values.reshape(layout.rows, layout.columns, layout.samples)
    segments: list[bytes] = []
    for sample in range(layout.samples):
        plane = np.ascontiguousarray(planes[..., sample])
        octets = plane.view(np.uint8).reshape(layout.rows, layout.columns, layout.dtype.itemsize)
        for octet in reversed(range(layout.dtype.itemsize)):
            packed = bytes(imagecodecs.packbits_encode(np.ascontiguousarray(octets[..., octet]), axis=-1))
            segments.append(packed + b"\0" * (len(packed) % 2))
    offsets = [64]
    for segment in segments[:-1]:
        offsets.append(offsets[-1] + len(segment))
    if len(segments) > 15:
        raise Unencodable("more segments than RLE has")
    header = struct.pack("<16I", len(segments), *offsets, *([0] * (15 - len(segments))))
    return header + b"".join(segments)


def _decode_rle(data: bytes, layout: Layout) -> np.ndarray:
    width = layout.dtype.itemsize
    count = struct.unpack_from("<I", data)[0]
    if count != layout.samples * width:
        raise ValueError("a number of segments that does not fit the header")
    offsets = [*struct.unpack_from(f"<{count}I", data, 4), len(data)]
    size = layout.rows * layout.columns
    octets = np.empty((layout.samples, size, width), dtype=np.uint8)
    for number in range(count):
        start, end = offsets[number], offsets[number + 1]
        if not 64 <= start <= end <= len(data):
            raise ValueError("segment offsets out of order")
        plain = _unpack(data[start:end], size)
        octets[number // width, :, width - 1 - number % width] = plain
    values = octets.reshape(layout.samples, layout.rows, layout.columns, width).view(layout.dtype)[..., 0]
    if layout.samples == 1:
        return np.ascontiguousarray(values[0])
    return np.ascontiguousarray(values.transpose(1, 2, 0))


def _unpack(data: bytes, size: int) -> np.ndarray:
    """PackBits of one segment; little more than `size` bytes may come out, since some writers pad with a run."""
    plain = np.frombuffer(bytes(imagecodecs.packbits_decode(data, out=size + 256)), np.uint8)
    if len(plain) < size:
        raise ValueError("a segment is too short")
    return plain[:size]


def _encoder(syntax: str) -> Callable[[np.ndarray, Layout], bytes]:
    if syntax == RLE:
        return _encode_rle
    if syntax == DEFLATED_FRAMES:
        return _encode_deflated
    if syntax in JPEG_LOSSLESS:
        return _encode_jpeg_lossless
    if syntax in JPEG_LS:
        return _encode_jpegls
    if syntax in JPEG_2000:
        return _encode_jpeg2000
    if syntax in HTJ2K:
        return _encode_htj2k
    if syntax in JPEG_XL and syntax != _RECOMPRESSED_JPEG:
        return _encode_jpegxl
    raise Unencodable("frames of this transfer syntax are not written here")
