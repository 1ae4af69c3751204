"""What de-identification gives back: the clean object, ready to be written, and what was taken off."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO

from gateway.deidentify.actions import Piece
from gateway.deidentify.pixeldata import Bits, Span, masked
from gateway.deidentify.pseudonyms import Pseudonyms
from gateway.deidentify.source import Source, feed
from storage.records import Identity, InstanceFacts, OriginalUIDs

_CHUNK = 1 << 20


@dataclass
class Result:
    """One de-identified instance.

    Parameters
    ----------
    facts
        What the index keeps, read from the clean data set.
    identity
        Patient and General Study attributes as sent.
    uids
        The UIDs the instance came with.
    coerced
        The output differs from the source by more than de-identification: converted to Explicit VR Little Endian.
    counts
        How often each action was taken: X, Z, D, C, U, ``private removed``, ``private kept``, ``residual``,
        ``blanked``.
    needs_screening
        The kind of image may carry text in its pixels; it stays invisible until screened.
    certificate
        Entries for the study's certificate: profile, edition, options, counts. No value of an element.
    """

    facts: InstanceFacts
    identity: Identity
    uids: OriginalUIDs
    coerced: bool
    counts: Mapping[str, int]
    needs_screening: bool
    certificate: Mapping[str, Any]
    _source: Source
    _pieces: list[Piece]
    _pseudonyms: Pseudonyms
    _blanks: list[Span] = field(default_factory=list)
    _masked: tuple[Span, Bits] | None = None

    @cached_property
    def source_sha256(self) -> str:
        """Keyed digest of the data set as sent: equal for a resend, whatever its file meta information.

        Computed when first asked for; a source file must still be there.
        """
        digest = self._pseudonyms.source_digest(self._source.sent_transfer_syntax_uid)
        feed(digest, self._source)
        return digest.hexdigest()

    def write(self, target: BinaryIO) -> int:
        """Write the clean Part 10 file; long spans are copied from the source in chunks.

        Returns
        -------
        int
            Bytes written.
        """
        written = 0
        source = self._source
        file = source.path.open("rb") if source.path is not None else None
        try:
            for piece in self._pieces:
                if isinstance(piece, bytes):
                    target.write(piece)
                    written += len(piece)
                else:
                    for start in range(piece[0], piece[1], _CHUNK):
                        end = min(start + _CHUNK, piece[1])
                        target.write(self._span(start, end, file))
                    written += piece[1] - piece[0]
        finally:
            if file is not None:
                file.close()
        return written

    def to_bytes(self) -> bytes:
        """The clean Part 10 file in memory."""
        target = io.BytesIO()
        self.write(target)
        return target.getvalue()

    def _span(self, start: int, end: int, file: BinaryIO | None) -> bytes | memoryview:
        if file is not None:
            file.seek(start)
            data: bytes | memoryview = file.read(end - start)
            if len(data) != end - start:
                raise OSError("the source became shorter while it was copied")
        else:
            data = memoryview(self._source.buffer)[start:end]
        if self._masked is not None:
            (first, last), bits = self._masked
            if start < last and end > first:
                low, high = max(first, start), min(last, end)
                data = bytes(data)
                data = (
                    data[: low - start]
                    + masked(data[low - start : high - start], bits)
                    + data[high - start :]
                )
        if self._blanks:
            data = self._blanked(data, start, end)
        return data

    def _blanked(self, data: bytes | memoryview, start: int, end: int) -> bytes | memoryview:
        index = bisect_right(self._blanks, start, key=lambda span: span[1])
        changed: bytearray | None = None
        while index < len(self._blanks) and self._blanks[index][0] < end:
            low, high = max(self._blanks[index][0], start), min(self._blanks[index][1], end)
            if changed is None:
                changed = bytearray(data)
            changed[low - start : high - start] = bytes(high - low)
            index += 1
        return data if changed is None else bytes(changed)
