"""What the data set says about its pixels: the Image Pixel module (PS3.3 C.7.6.3), checked before decoding."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from config.errors import PermanentError
from viewer.rendering.attributes import Metadata, text, whole

NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
"""Transfer syntaxes whose pixel data is not encapsulated (PS3.5 A.1, A.2, A.3, A.5)."""

PIXEL_KEYWORDS = {"7FE00010": "PixelData", "7FE00008": "FloatPixelData", "7FE00009": "DoubleFloatPixelData"}


class NoImage(PermanentError):
    """The instance carries no pixels."""


class CannotDecode(PermanentError):
    """The pixel data cannot, or must not, be decoded here; the message says why."""


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The Image Pixel module of one instance.

    Parameters
    ----------
    rows, columns
        Size of a frame in pixels.
    samples
        Samples per Pixel (0028,0002).
    bits_allocated, bits_stored
        Bits of a sample (0028,0100), (0028,0101).
    signed
        Pixel Representation (0028,0103) is 1.
    planar
        Planar Configuration (0028,0006).
    frames
        Number of Frames (0028,0008), at least 1.
    keyword
        ``PixelData``, ``FloatPixelData`` or ``DoubleFloatPixelData``.
    vr
        Value representation of that element; with big endian it decides how 8-bit samples were written.
    """

    transfer_syntax_uid: str
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    planar: int
    frames: int
    keyword: str = "PixelData"
    vr: str = "OW"

    @property
    def native(self) -> bool:
        return UID(self.transfer_syntax_uid) in NATIVE

    @property
    def subsampled(self) -> bool:
        """Whether native chrominance samples are stored for every second pixel only (PS3.3 C.7.6.3.1.2)."""
        return self.native and self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422")

    @property
    def frame_bytes(self) -> int:
        """Size of one decoded frame in bytes, subsampling removed."""
        bits = self.rows * self.columns * self.samples * self.bits_allocated
        return (bits + 7) // 8


def describe(metadata: Metadata, transfer_syntax_uid: str) -> PixelDescription:
    """Read and check the Image Pixel module.

    Raises
    ------
    NoImage
        If the data set has no pixel data.
    CannotDecode
        If its values contradict PS3.3 C.7.6.3.
    """
    found = next((tag for tag in PIXEL_KEYWORDS if tag in metadata), None)
    rows, columns = whole(metadata, "Rows"), whole(metadata, "Columns")
    if found is None or not rows or not columns:
        raise NoImage("the instance carries no image")
    bits_allocated = whole(metadata, "BitsAllocated", {"7FE00008": 32, "7FE00009": 64}.get(found, 0))
    described = PixelDescription(
        transfer_syntax_uid=transfer_syntax_uid,
        rows=rows,
        columns=columns,
        samples=whole(metadata, "SamplesPerPixel", 1),
        photometric=text(metadata, "PhotometricInterpretation").strip().upper() or "MONOCHROME2",
        bits_allocated=bits_allocated,
        bits_stored=whole(metadata, "BitsStored", bits_allocated) or bits_allocated,
        signed=whole(metadata, "PixelRepresentation") == 1,
        planar=whole(metadata, "PlanarConfiguration"),
        frames=max(1, whole(metadata, "NumberOfFrames", 1)),
        keyword=PIXEL_KEYWORDS[found],
        vr=str(metadata[found].get("vr", "OW")),
    )
    _check(described)
    return described


def _check(described: PixelDescription) -> None:
    if not (0 < described.rows <= 65535 and 0 < described.columns <= 65535):
        raise CannotDecode("Rows and Columns must be 1 to 65535 (PS3.3 C.7.6.3)")
    if described.samples not in (1, 3, 4):
        raise CannotDecode("Samples per Pixel must be 1, 3 or 4 (PS3.3 C.7.6.3.1.1)")
    if described.bits_allocated != 1 and (
        described.bits_allocated % 8 or not 8 <= described.bits_allocated <= 64
    ):
        raise CannotDecode("Bits Allocated must be 1 or a multiple of 8 up to 64 (PS3.5 8.1.1)")
    if not 0 < described.bits_stored <= described.bits_allocated:
        raise CannotDecode("Bits Stored must be 1 to Bits Allocated (PS3.5 8.1.1)")
