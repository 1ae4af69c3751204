"""A whole instance as Explicit VR Little Endian, for callers who ask for the default transfer syntax (PS3.18 8.7.3)."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from viewer.dicomweb.body import Segment
from viewer.dicomweb.frames import Frames
from viewer.rendering.description import CannotDecode

LARGEST = 0xFFFFFFFE
"""Most bytes of native Pixel Data: its length has 32 bits and is even (PS3.5 7.1.1)."""

# Bytes of one word of the VRs that are kept as bytes and whose order therefore has to be turned by hand (PS3.5 7.3).
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


def explicit_little(part10: bytes, frames: Frames | None) -> tuple[Segment, ...]:
    """The content of an instance in Explicit VR Little Endian.

    Parameters
    ----------
    part10
        The stored file.
    frames
        Its frames if they have to be decoded; None where pixel data, if any, is native.

    Raises
    ------
    CannotDecode
        If the first frame cannot be decoded, or the pixels would not fit.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = dcmread(io.BytesIO(part10), stop_before_pixels=frames is not None)
        return _native(data_set) if frames is None else _decoded(data_set, frames)


def _native(data_set: FileDataset) -> tuple[Segment, ...]:
    if data_set.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        _turn(data_set)
    return (Segment.of(_written(data_set)),)


def _decoded(data_set: FileDataset, frames: Frames) -> tuple[Segment, ...]:
    size = frames.described.frame_bytes
    total = size * frames.count
    if total > LARGEST:
        raise CannotDecode("the uncompressed pixel data would not fit into one element")
    data_set.PhotometricInterpretation = frames.decoded(1).photometric
    if frames.described.samples > 1:
        data_set.PlanarConfiguration = 0
    vr = b"OB" if frames.described.bits_allocated <= 8 else b"OW"
    header = struct.pack("<HH2sHL", 0x7FE0, 0x0010, vr, 0, total + total % 2)
    pixels = [frames.uncompressed(number) for number in range(1, frames.count + 1)]
    return (Segment.of(_written(data_set) + header), *pixels, Segment.of(b"\0" * (total % 2)))


def _written(data_set: FileDataset) -> bytes:
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = io.BytesIO()
    dcmwrite(
        out, data_set, implicit_vr=False, little_endian=True, force_encoding=True, enforce_file_format=True
    )
    return out.getvalue()


def _turn(data_set: Dataset) -> None:
    """Turn the byte order of every value that is kept as bytes."""
    for element in data_set:
        if element.VR == "SQ":
            for item in element.value:
                _turn(item)
        elif element.VR in _WORDS and isinstance(element.value, bytes):
            word = _WORDS[element.VR]
            whole = len(element.value) // word * word
            turned = np.frombuffer(element.value[:whole], f">u{word}").astype(f"<u{word}").tobytes()
            element.value = turned + element.value[whole:]
