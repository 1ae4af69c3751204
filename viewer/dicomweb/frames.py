"""Frames of one instance, as stored or uncompressed (PS3.18 10.4.1.1.6, 8.7.3).

What clients cannot be trusted to handle is normalised: the archive gives big endian and deflated data as little endian,
native YBR_FULL_422 gets its missing chrominance samples back (`viewer.dicomweb.metadata` says so too), and a JPEG 2000
stream whose sign contradicts Pixel Representation is decoded here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from config.errors import Invalid, NotFound
from storage.archive import Archive, Entry
from viewer.dicomweb.body import Segment
from viewer.dicomweb.negotiation import EXPLICIT_LITTLE, OCTETS, Offer
from viewer.rendering import limits
from viewer.rendering.codestream import read_jpeg2000
from viewer.rendering.decode import DEFLATED_FRAMES, Decoded, decode
from viewer.rendering.description import CannotDecode, NoImage, PixelDescription, describe

MEDIA_TYPES = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.92": "image/jpx",
    "1.2.840.10008.1.2.4.93": "image/jpx",
    "1.2.840.10008.1.2.4.110": "image/jxl",
    "1.2.840.10008.1.2.4.111": "image/jxl",
    "1.2.840.10008.1.2.4.112": "image/jxl",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.4.100": "video/mpeg",
    "1.2.840.10008.1.2.4.100.1": "video/mpeg",
    "1.2.840.10008.1.2.4.101": "video/mpeg",
    "1.2.840.10008.1.2.4.101.1": "video/mpeg",
    **{f"1.2.840.10008.1.2.4.{n}{f}": "video/mp4" for n in (102, 103, 104, 105, 106) for f in ("", ".1")},
    "1.2.840.10008.1.2.4.107": "video/mp4",
    "1.2.840.10008.1.2.4.108": "video/mp4",
}
"""Media types of compressed pixel data (PS3.18 Tables 8.7.3-4 and 8.7.3-6)."""

DECODABLE = frozenset(
    {"1.2.840.10008.1.2.5", DEFLATED_FRAMES}
    | limits.JPEG
    | limits.JPEG_LS
    | limits.JPEG_2000
    | limits.HTJ2K
    | limits.JPEG_XL
)


def frame_list(text: str) -> list[int]:
    """Read ``1,5,2`` of a path.

    Raises
    ------
    Invalid
        If it is no list of numbers from 1.
    """
    try:
        numbers = [int(part) for part in text.split(",")] if text.replace(",", "").isdecimal() else []
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1 or len(numbers) > 10_000:
        raise Invalid("frames must be a list of numbers from 1, for example /frames/1,2,3")
    return numbers


class Frames:
    """The frames of one instance.

    Raises
    ------
    NotFound
        If the instance carries no image.
    """

    def __init__(self, archive: Archive, entry: Entry) -> None:
        self._archive = archive
        self.entry = entry
        try:
            self.described: PixelDescription = describe(entry.metadata, entry.transfer_syntax_uid)
        except NoImage:
            raise NotFound("the instance carries no image") from None

    @property
    def count(self) -> int:
        return max(1, self.entry.frame_count)

    def check(self, numbers: Sequence[int]) -> None:
        """Refuse frames that are not there."""
        if max(numbers) > self.count:
            raise NotFound(f"the instance has {self.count} frames")

    @property
    def decodable(self) -> bool:
        """Whether frames can be given uncompressed."""
        if self.described.native:
            return True
        return self.entry.transfer_syntax_uid in DECODABLE and self.described.bits_allocated in (
            8,
            16,
            32,
            64,
        )

    @cached_property
    def misleading(self) -> bool:
        """Whether the sign of a JPEG 2000 stream contradicts the data set: browsers' decoders show wrong values."""
        if self.entry.transfer_syntax_uid not in limits.JPEG_2000 | limits.HTJ2K:
            return False
        length = self._archive.frame_range(self.entry, 1)
        header = read_jpeg2000(self._archive.frame_part(self.entry, 1, 0, min(length, 4096)))
        return header is not None and header.signed is not None and header.signed != self.described.signed

    def offers(self, *, single: bool) -> list[Offer]:
        """What the frames can be sent as; single parts only for a single frame."""
        stored = self.entry.transfer_syntax_uid
        uncompressed = (OCTETS, EXPLICIT_LITTLE)
        if self.described.native:
            kinds = [uncompressed]
        else:
            kinds = [(OCTETS, stored)]
            if stored in MEDIA_TYPES:
                kinds.insert(0, (MEDIA_TYPES[stored], stored))
            if self.decodable:
                kinds.insert(0 if self.misleading else len(kinds), uncompressed)
        shapes = (True, False) if single else (True,)
        return [Offer(media, syntax, multipart) for multipart in shapes for media, syntax in kinds]

    def segments(self, numbers: Sequence[int], transfer_syntax: str) -> list[Segment]:
        """Frames in one of the offered transfer syntaxes.

        What has to be decoded is decoded when it is sent, except the first frame: as long as nothing is sent an error
        can be told.

        Raises
        ------
        CannotDecode
            If the first frame has to be decoded and cannot.
        """
        stored = self.described.native or transfer_syntax == self.entry.transfer_syntax_uid
        if stored and not self.described.subsampled:
            return [self._stored(number) for number in numbers]
        first = Segment.of(self.decoded(numbers[0]).little_endian())
        return [first, *(self.uncompressed(number) for number in numbers[1:])]

    def _stored(self, number: int) -> Segment:
        entry = self.entry
        length = self._archive.frame_range(entry, number)
        return Segment(length, lambda start, stop: self._archive.frame_part(entry, number, start, stop))

    def uncompressed(self, number: int) -> Segment:
        """One frame, decoded when it is read."""
        return lazily(self.described.frame_bytes, lambda: self.decoded(number).little_endian())

    def decoded(self, number: int, *, rgb: bool | None = None) -> Decoded:
        """One frame decoded; native YBR stays YBR unless `rgb` says otherwise."""
        encoded = self._archive.frame(self.entry, number)
        decoded = decode(self.described, encoded, rgb=not self.described.native if rgb is None else rgb)
        if decoded.pixels.nbytes != self.described.frame_bytes:
            raise CannotDecode("the decoded frame does not have the size the data set says")
        return decoded


def lazily(length: int, make: Callable[[], bytes]) -> Segment:
    """A segment that is made when it is first read, and let go when it was read to its end."""
    kept: list[bytes] = []

    def read(start: int, stop: int) -> bytes:
        data = kept[0] if kept else make()
        kept[:] = [data] if stop < length else []
        return data[start:stop]

    return Segment(length, read)
