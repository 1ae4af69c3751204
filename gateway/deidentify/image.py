"""Checks of the image before it is passed on: whether it can be an image, may carry text, and where its pixels lie."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.deidentify.errors import Refused
from gateway.deidentify.pixeldata import Bits
from gateway.deidentify.wire import Element

# SOP classes whose modality does not burn text into the pixels as a rule: primary images of these are not screened.
_UNSCREENED_MODALITIES = frozenset(("CT", "MR", "PT", "NM", "MG", "CR", "DX", "RTIMAGE", "RTDOSE", "SEG"))
_MAXIMUM = 65535
_MAXIMUM_FRAMES = 1 << 24


def number(buffer: bytes, elements: Mapping[int, Element], tag: int) -> int:
    """An US value, 0 when absent or of another length."""
    element = elements.get(tag)
    if element is None or element.value_end - element.value < 2:
        return 0
    return int.from_bytes(buffer[element.value : element.value + 2], "little")


def text(buffer: bytes, elements: Mapping[int, Element], tag: int) -> str:
    """A coded value, stripped."""
    element = elements.get(tag)
    if element is None:
        return ""
    return bytes(buffer[element.value : element.value_end]).decode("latin-1").strip("\0 ")


def frames(buffer: bytes, elements: Mapping[int, Element]) -> int:
    """Number of Frames (0028,0008), 1 when absent.

    Raises
    ------
    Refused
        ``malformed-image``.
    """
    value = text(buffer, elements, 0x00280008)
    if not value:
        return 1
    if not value.isdigit() or not 0 < int(value) <= _MAXIMUM_FRAMES:
        raise Refused("malformed-image", "Number of Frames")
    return int(value)


def bits(buffer: bytes, elements: Mapping[int, Element]) -> Bits:
    """How stored values lie in their cells.

    Raises
    ------
    Refused
        ``malformed-image`` when the attributes contradict each other.
    """
    allocated, stored = number(buffer, elements, 0x00280100), number(buffer, elements, 0x00280101)
    high = number(buffer, elements, 0x00280102)
    if not 0 < allocated <= 64 or not 0 < stored <= allocated or not stored - 1 <= high < allocated:
        raise Refused("malformed-image", "Bits Allocated, Bits Stored and High Bit")
    return Bits(allocated, stored, high, number(buffer, elements, 0x00280103) == 1)


def native_length(buffer: bytes, elements: Mapping[int, Element], cell: Bits) -> int:
    """Bytes of all frames of native pixel data (PS3.5 8.2), without the pad byte."""
    rows, columns = number(buffer, elements, 0x00280010), number(buffer, elements, 0x00280011)
    samples = number(buffer, elements, 0x00280002) or 1
    if not 0 < rows <= _MAXIMUM or not 0 < columns <= _MAXIMUM or samples > 4:
        raise Refused("malformed-image", "Rows, Columns or Samples per Pixel")
    photometric = text(buffer, elements, 0x00280004)
    values = rows * columns * frames(buffer, elements)
    if photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        return 0  # two or three samples a pixel, by who wrote it: the end of the last frame is not known for certain
    return (values * samples * cell.allocated + 7) // 8


def needs_screening(buffer: bytes, elements: Mapping[int, Element], sop_class_uid: str) -> bool:
    """Whether the pixels may carry burned in text, so that a person or a detector must look first."""
    if 0x7FE00010 not in elements:
        return False
    if text(buffer, elements, 0x00280301) == "YES":  # Burned In Annotation, declared by the sender
        return True
    modality = text(buffer, elements, 0x00080060)
    image_type = text(buffer, elements, 0x00080008).split("\\")
    if sop_class_uid.startswith("1.2.840.10008.5.1.4.1.1.7") or modality not in _UNSCREENED_MODALITIES:
        return True
    secondary = len(image_type) > 1 and image_type[0] == "DERIVED" and image_type[1] == "SECONDARY"
    captured = any(
        part in ("SCREEN SAVE", "SCREENSHOT", "SECONDARY CAPTURE", "DOSE_INFO") for part in image_type
    )
    colour = modality in ("CT", "MR", "MG", "CR", "DX") and number(buffer, elements, 0x00280002) == 3
    return (
        (secondary and modality in ("CT", "MR") and "MPR" not in image_type and colour) or captured or colour
    )
