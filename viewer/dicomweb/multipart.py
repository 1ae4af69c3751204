"""Writing multipart/related (RFC 2387, PS3.18 8.7.1) without holding its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from viewer.dicomweb.body import Body, Generated, Segment


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart message.

    Parameters
    ----------
    content_type
        With its transfer-syntax parameter, where it has one.
    content
        The payload.
    location
        Absolute path of the resource the part is, for Content-Location.
    """

    content_type: str
    content: tuple[Segment, ...]
    location: str = ""

    def head(self, boundary: str) -> bytes:
        lines = [f"--{boundary}", f"Content-Type: {self.content_type}"]
        if self.location:
            lines.append(f"Content-Location: {self.location}")
        lines.append(f"Content-Length: {sum(segment.length for segment in self.content)}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")


def boundary_for(etag: str) -> str:
    """The boundary of a representation: the same for every request, so that ranges of it fit together."""
    return f"consilium-{etag[:48]}"


def multipart(parts: Sequence[Part | Generated], boundary: str) -> Body:
    """The body of a message; a `Generated` part writes its own head (`Part.head`) and payload."""
    segments: list[Segment | Generated] = []
    for part in parts:
        if isinstance(part, Generated):
            segments.append(part)
        else:
            segments += [Segment.of(part.head(boundary)), *part.content]
        segments.append(Segment.of(b"\r\n"))
    segments.append(Segment.of(f"--{boundary}--\r\n".encode("ascii")))
    return Body(tuple(segments))


def content_type(boundary: str, part_type: str) -> str:
    """The Content-Type of a whole message whose parts are of one media type."""
    return f'multipart/related; type="{part_type}"; boundary={boundary}'
