"""An instance opened for its pixels: what they are, and each frame as stored values.

Nothing of the header is decoded beyond the Image Pixel module (PS3.3 C.7.6.3) and what rules ask for; positions of
elements point into the mapped file, so that everything else can be copied as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config.errors import PermanentError
from gateway.deidentify import image
from gateway.deidentify.errors import Refused
from gateway.deidentify.pixels import codecs
from gateway.deidentify.pixels.errors import Doubtful
from gateway.deidentify.source import Source, open_source
from gateway.deidentify.wire import PIXEL_DATA, Element, Limits, Reader
from storage.frames import VIDEO_SYNTAXES, locate
from storage.manifest import Encapsulated
from storage.part10 import parse

LARGEST_FRAME = 256 << 20
"""Bytes of stored values of one frame beyond which nothing is decoded."""

_PHOTOMETRIC_SAMPLES = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    **dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"), 3),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """The Image Pixel module of an instance (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    planar: int
    allocated: int
    stored: int
    high: int
    signed: bool

    @property
    def dtype(self) -> np.dtype:
        """Of one stored value; of one bit a pixel: uint8."""
        width = max(8, self.allocated) // 8
        return np.dtype(f"<{'i' if self.signed else 'u'}{width}")

    @property
    def subsampled(self) -> bool:
        """Native YBR_FULL_422: two luminances share one pair of chrominances (PS3.3 C.7.6.3.1.2)."""
        return self.photometric == "YBR_FULL_422"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one frame: (rows, columns) or (rows, columns, samples)."""
        if self.samples == 1:
            return (self.rows, self.columns)
        return (self.rows, self.columns, self.samples)


class Opened:
    """One Part 10 file and its frames. Use it in a ``with`` block.

    Raises
    ------
    Doubtful
        ``undecodable-pixels`` when its pixels cannot be told apart into frames.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.source: Source = open_source(path, Limits())
            reader = Reader(self.source.buffer, Limits())
            self.elements: list[Element] = reader.read(
                self.source.start, self.source.end, self.source.explicit
            )
        except Refused as refused:
            raise Doubtful("undecodable-pixels", f"cannot be read: {refused.reason}") from None
        if self.source.coerced:  # de-identification writes neither
            raise Doubtful("undecodable-pixels", "a deflated or big endian file cannot be changed in place")
        self.by_tag = {element.tag: element for element in self.elements}
        self.syntax = self.source.transfer_syntax_uid
        self.sop_class_uid = self.text(0x00080016)
        self.modality = self.text(0x00080060)
        self.image_type = tuple(self.text(0x00080008).split("\\"))
        if PIXEL_DATA not in self.by_tag:
            raise Doubtful("undecodable-pixels", "there is no Pixel Data (7FE0,0010)")
        self.pixels = self.by_tag[PIXEL_DATA]
        self.layout = self._layout()
        self.is_native = self.pixels.fragments is None
        if self.syntax in VIDEO_SYNTAXES:
            raise Doubtful("undecodable-pixels", "a video stream is not screened here")
        self._frames = self._locate()
        self._palette: tuple[np.ndarray, np.ndarray] | None = None

    # --- header ---

    def text(self, tag: int) -> str:
        """A coded value of the main data set, stripped."""
        return image.text(self.source.buffer, self.by_tag, tag)

    def number(self, tag: int) -> int:
        return image.number(self.source.buffer, self.by_tag, tag)

    def value(self, tag: int) -> bytes:
        element = self.by_tag.get(tag)
        return b"" if element is None else bytes(self.source.buffer[element.value : element.value_end])

    def _layout(self) -> Layout:
        buffer = self.source.buffer
        try:
            bits = image.bits(buffer, self.by_tag)
            frames = image.frames(buffer, self.by_tag)
        except Refused as refused:
            raise Doubtful("undecodable-pixels", refused.detail) from None
        photometric = self.text(0x00280004)
        layout = Layout(
            rows=self.number(0x00280010),
            columns=self.number(0x00280011),
            frames=frames,
            samples=self.number(0x00280002) or 1,
            photometric=photometric,
            planar=self.number(0x00280006),
            allocated=bits.allocated,
            stored=bits.stored,
            high=bits.high,
            signed=bits.signed,
        )
        if not layout.rows or not layout.columns or layout.allocated not in (1, 8, 16, 32):
            raise Doubtful("undecodable-pixels", "Rows, Columns or Bits Allocated")
        if _PHOTOMETRIC_SAMPLES.get(photometric) != layout.samples:
            raise Doubtful("undecodable-pixels", "Photometric Interpretation and Samples per Pixel disagree")
        if math.prod(layout.shape) * layout.dtype.itemsize > LARGEST_FRAME:
            raise Doubtful("undecodable-pixels", "a frame is larger than the limit")
        return layout

    # --- frames ---

    def _locate(self) -> list[tuple[tuple[int, int], ...]]:
        """For each frame the spans (start, end) in the file its bytes are in; a native bitmap's are bit positions."""
        layout = self.layout
        if self.is_native:
            return []
        if self.syntax not in codecs.SYNTAXES:
            raise Doubtful("undecodable-pixels", "no decoder for this transfer syntax")
        try:
            found = locate(self.source.buffer, parse(memoryview(self.source.buffer)))
        except PermanentError as error:
            raise Doubtful("undecodable-pixels", "the fragments cannot be followed") from error
        if not isinstance(found, Encapsulated) or len(found.frames) != layout.frames:
            raise Doubtful("undecodable-pixels", "the fragments do not make up Number of Frames")
        return [
            tuple((start, start + length) for start, length in zip(flat[::2], flat[1::2], strict=True))
            for flat in found.frames
        ]

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame."""
        layout = self.layout
        samples = 2 if layout.subsampled else layout.samples
        return layout.rows * layout.columns * samples * layout.allocated

    def spans(self, frame: int) -> tuple[tuple[int, int], ...]:
        """Where an encapsulated frame's bytes are; `frame` counts from 0."""
        return self._frames[frame]

    def encoded(self, frame: int) -> bytes:
        """The bytes of a frame as they are in the file; `frame` counts from 0."""
        buffer = self.source.buffer
        if self.is_native:
            first = self.frame_bits * frame
            last = first + self.frame_bits
            return bytes(buffer[self.pixels.value + first // 8 : self.pixels.value + (last + 7) // 8])
        return b"".join(bytes(buffer[start:end]) for start, end in self._frames[frame])

    def frame(self, frame: int) -> np.ndarray:
        """Stored values of a frame, `Layout.shape`; of encapsulated ones the components of the code stream.

        Raises
        ------
        Doubtful
            ``undecodable-pixels``.
        """
        data = self.encoded(frame)
        if self.is_native:
            return self._native(data, frame)
        try:
            values = codecs.decode(self.syntax, data, self.layout)
        except MemoryError:
            raise
        except Exception as error:
            raise Doubtful(
                "undecodable-pixels", f"frame {frame + 1} is refused by its decoder ({type(error).__name__})"
            ) from None
        if values.shape != self.layout.shape:
            raise Doubtful(
                "undecodable-pixels", f"frame {frame + 1} has other dimensions than Rows and Columns"
            )
        return values

    def _native(self, data: bytes, frame: int) -> np.ndarray:
        layout = self.layout
        if len(data) * 8 < self.frame_bits:
            raise Doubtful("undecodable-pixels", f"frame {frame + 1} is cut")
        if layout.allocated == 1:
            bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
            skipped = self.frame_bits * frame % 8
            return bits[skipped : skipped + self.frame_bits].reshape(layout.shape)
        values = np.frombuffer(data, layout.dtype)
        if layout.subsampled:
            if layout.columns % 2:
                raise Doubtful("undecodable-pixels", "YBR_FULL_422 with an odd number of columns")
            return unpack_422(values, layout.rows, layout.columns)
        if layout.samples > 1 and layout.planar == 1:
            planes = values.reshape(layout.samples, layout.rows, layout.columns)
            return np.ascontiguousarray(planes.transpose(1, 2, 0))
        return values.reshape(layout.shape)

    # --- pictures ---

    @property
    def palette(self) -> tuple[np.ndarray, np.ndarray]:
        """Lookup table of PALETTE COLOR, (entries, 3) of uint8, and the first stored value it maps (C.7.6.3.1.5)."""
        if self._palette is None:
            self._palette = self._read_palette()
        return self._palette

    def _read_palette(self) -> tuple[np.ndarray, np.ndarray]:
        columns: list[np.ndarray] = []
        first = 0
        for descriptor, table in (
            (0x00281101, 0x00281201),
            (0x00281102, 0x00281202),
            (0x00281103, 0x00281203),
        ):
            head = np.frombuffer(self.value(descriptor), "<u2")
            if len(head) != 3:
                raise Doubtful("undecodable-pixels", "PALETTE COLOR without its lookup tables")
            entries, first, bits = int(head[0]) or 65536, int(head[1]), int(head[2])
            data = self.value(table)
            if bits == 8 and len(data) in (entries, entries + 1):
                column = np.frombuffer(data, np.uint8)[:entries]
            elif len(data) == 2 * entries:
                wide = np.frombuffer(data, "<u2")
                column = (wide >> 8).astype(np.uint8) if int(wide.max()) > 255 else wide.astype(np.uint8)
            else:  # segmented tables too: their indices are shown as grey
                column = np.linspace(0, 255, entries).astype(np.uint8)
            columns.append(column)
        if len({len(column) for column in columns}) != 1:
            raise Doubtful("undecodable-pixels", "lookup tables of different lengths")
        if self.layout.signed and first >= 0x8000:
            first -= 0x10000
        return np.stack(columns, axis=1), np.array(first)


def unpack_422(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Native YBR_FULL_422, Y1 Y2 CB CR for every two pixels, as (rows, columns, 3)."""
    pairs = values[: rows * columns * 2].reshape(rows, columns // 2, 4)
    full = np.empty((rows, columns, 3), dtype=values.dtype)
    full[:, 0::2, 0] = pairs[..., 0]
    full[:, 1::2, 0] = pairs[..., 1]
    full[:, :, 1] = np.repeat(pairs[..., 2], 2, axis=1)
    full[:, :, 2] = np.repeat(pairs[..., 3], 2, axis=1)
    return full


def pack_422(full: np.ndarray) -> np.ndarray:
    """The inverse of `unpack_422` for frames whose pairs share their chrominance."""
    rows, columns, _ = full.shape
    pairs = np.empty((rows, columns // 2, 4), dtype=full.dtype)
    pairs[..., 0] = full[:, 0::2, 0]
    pairs[..., 1] = full[:, 1::2, 0]
    pairs[..., 2] = full[:, 0::2, 1]
    pairs[..., 3] = full[:, 0::2, 2]
    return pairs.reshape(-1)
