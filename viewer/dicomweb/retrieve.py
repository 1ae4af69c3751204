"""Retrieve Transaction: instances, metadata, frames and bulk data (WADO-RS, PS3.18 10.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flask import Response, request

from config.errors import NotFound
from storage.archive import Archive
from storage.recent import Recent
from viewer.dicomweb import metadata
from viewer.dicomweb.accept import accepted
from viewer.dicomweb.body import Body, Generated, Segment, digest, send
from viewer.dicomweb.frames import Frames, frame_list
from viewer.dicomweb.multipart import Part, boundary_for, content_type, multipart
from viewer.dicomweb.negotiation import DICOM, DICOM_JSON, EXPLICIT_LITTLE, OCTETS, Offer, choose
from viewer.dicomweb.problems import NotAcceptable
from viewer.dicomweb.resources import Instance, Resources
from viewer.dicomweb.transcode import LARGEST, explicit_little
from viewer.rendering.description import NATIVE, CannotDecode

DOCUMENTS = 32 << 20
"""Bytes of packed metadata one process keeps; a series of hundreds of slices has about 100 KB."""

CONVERTED = 512 << 20
"""Largest file in bytes that is converted to another transfer syntax: the compressed form is held in memory."""

JSON_OFFERS = (Offer(DICOM_JSON), Offer("application/json"))


class Retrieve:
    """The retrieve routes of one application."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._archive = resources.archive
        self._documents = Recent[bytes](DOCUMENTS)

    # --- instances -----------------------------------------------------------------------------------------------

    def instances(self, study: str, series: str | None = None, instance: str | None = None) -> Response:
        """Whole instances, each a part; a single one also as application/dicom by itself."""
        found = self._resources.instances(study, series, instance)
        chosen = self._choose(found, single=instance is not None)
        etag = digest(
            f"{self._archive.etag(i.entry)} {offer}" for i, offer in zip(found, chosen, strict=True)
        )
        immutable = instance is not None and self._immutable(found[0])
        if not chosen[0].multipart:
            body = Body(self._content(found[0], chosen[0], accepted()))
            return send(body, chosen[0].content_type, etag, immutable=immutable)
        boundary = boundary_for(etag)
        parts = [
            self._part(one, offer, boundary, at_once=instance is not None)
            for one, offer in zip(found, chosen, strict=True)
        ]
        return send(multipart(parts, boundary), content_type(boundary, DICOM), etag, immutable=immutable)

    def _choose(self, found: Sequence[Instance], *, single: bool) -> list[Offer]:
        """A representation for each instance; what cannot be converted is offered as stored only."""
        header = accepted()
        decided: dict[tuple[str, bool], Offer] = {}
        chosen = []
        for one in found:
            stored = one.entry.transfer_syntax_uid
            key = (stored, stored == EXPLICIT_LITTLE or self._convertible(one))
            if key not in decided:
                decided[key] = self._decide(header, *key, single=single)
            chosen.append(decided[key])
        return chosen

    @staticmethod
    def _decide(header: str, stored: str, convertible: bool, *, single: bool) -> Offer:
        syntaxes = [stored, EXPLICIT_LITTLE] if convertible and stored != EXPLICIT_LITTLE else [stored]
        shapes = (True, False) if single else (True,)
        offers = [Offer(DICOM, syntax, shape) for shape in shapes for syntax in syntaxes]
        try:
            return choose(header, offers)
        except NotAcceptable:
            if convertible:
                raise
            # Whoever names no transfer syntax gets what there is rather than nothing (PS3.18 8.7.3.3).
            unnamed = choose(header, [Offer(DICOM, "", shape) for shape in shapes])
            return Offer(DICOM, stored, unnamed.multipart)

    def _convertible(self, one: Instance) -> bool:
        """Whether the instance could be given in Explicit VR Little Endian."""
        if one.entry.size > CONVERTED:
            return False
        try:
            frames = Frames(self._archive, one.entry)
        except NotFound:
            return True
        except CannotDecode:
            return False
        return frames.decodable and frames.described.frame_bytes * frames.count <= LARGEST

    def _part(self, one: Instance, offer: Offer, boundary: str, *, at_once: bool) -> Part | Generated:
        location, header = one.path, accepted()  # the request is over when a part is generated
        if offer.transfer_syntax == one.entry.transfer_syntax_uid or at_once:
            return Part(offer.content_type, self._content(one, offer, header), location)

        def make() -> Iterator[bytes]:
            try:
                part = Part(offer.content_type, self._content(one, offer, header), location)
            except (
                NotAcceptable
            ):  # damaged pixels: for its sake the others are not withheld; it comes as stored
                stored = Offer(DICOM, one.entry.transfer_syntax_uid, True)
                part = Part(stored.content_type, self._content(one, stored, header), location)
            yield part.head(boundary)
            yield from Body(part.content).chunks()

        return Generated(make)

    def _content(self, one: Instance, offer: Offer, header: str) -> tuple[Segment, ...]:
        entry = one.entry
        if offer.transfer_syntax == entry.transfer_syntax_uid:
            return (Segment(entry.size, lambda start, stop: self._archive.read_part(entry, start, stop)),)
        try:
            frames = None if _native(one) else Frames(self._archive, entry)
            return explicit_little(self._archive.read(entry), frames)
        except CannotDecode:
            raise NotAcceptable(header, [str(Offer(DICOM, entry.transfer_syntax_uid, True))]) from None

    def _immutable(self, one: Instance) -> bool:
        return self._archive.sealed(one.entry)

    # --- metadata ------------------------------------------------------------------------------------------------

    def metadata(self, study: str, series: str | None = None, instance: str | None = None) -> Response:
        """The DICOM JSON model of every instance, bulk data as links; compressed where the caller can take it."""
        found = self._resources.instances(study, series, instance)
        offer = choose(accepted(), JSON_OFFERS)
        packed = request.accept_encodings.quality("gzip") > 0 and "gzip" in request.headers.get(
            "Accept-Encoding", ""
        )
        etag = digest([str(offer), str(packed), *(self._archive.etag(one.entry) for one in found)])
        body = Body(())
        if not request.if_none_match.contains(etag):
            body = Body((Segment.of(self._packed(found, etag) if packed else metadata.document(found)),))
        response = send(body, offer.media_type, etag)
        if packed and response.status_code in (200, 206):
            response.headers["Content-Encoding"] = "gzip"
        response.vary.add("Accept-Encoding")
        return response

    def _packed(self, found: Sequence[Instance], etag: str) -> bytes:
        kept = self._documents.get(etag)
        if kept is None:
            kept = metadata.compressed(metadata.document(found))
            self._documents.put(etag, kept, len(kept))
        return kept

    # --- frames --------------------------------------------------------------------------------------------------

    def frames(self, study: str, series: str, instance: str, frames: str) -> Response:
        """Frames as stored or uncompressed; one alone also as a single part."""
        numbers = frame_list(frames)
        one = self._resources.instance(study, series, instance)
        source = _frames(self._archive, one)
        source.check(numbers)
        offer = choose(accepted(), source.offers(single=len(numbers) == 1))
        etag = digest([self._archive.etag(one.entry), str(offer), frames])
        try:
            segments = source.segments(numbers, offer.transfer_syntax)
        except CannotDecode:
            others = [
                str(o)
                for o in source.offers(single=len(numbers) == 1)
                if o.transfer_syntax != EXPLICIT_LITTLE
            ]
            raise NotAcceptable(accepted(), others) from None
        immutable = self._immutable(one)
        if not offer.multipart:
            return send(Body((segments[0],)), offer.content_type, etag, immutable=immutable)
        boundary = boundary_for(etag)
        parts = [
            Part(offer.content_type, (segment,), f"{one.path}/frames/{n}")
            for n, segment in zip(numbers, segments, strict=True)
        ]
        return send(
            multipart(parts, boundary), content_type(boundary, offer.media_type), etag, immutable=immutable
        )

    # --- bulk data -----------------------------------------------------------------------------------------------

    def bulkdata(self, study: str, series: str, instance: str, path: str) -> Response:
        """One bulk value, little endian; of encapsulated pixel data, every frame as a part."""
        one = self._resources.instance(study, series, instance)
        etag = digest([self._archive.etag(one.entry), "bulk", path])
        compressed = path == "7FE00010" and not _native(one)
        if compressed:
            source = _frames(self._archive, one)
            stored = one.entry.transfer_syntax_uid
            offer = choose(
                accepted(), [o for o in source.offers(single=False) if o.transfer_syntax == stored]
            )
            boundary = boundary_for(digest([etag, str(offer)]))
            numbers = range(1, source.count + 1)
            parts = [
                Part(offer.content_type, (segment,), f"{one.path}/frames/{n}")
                for n, segment in zip(numbers, source.segments(numbers, stored), strict=True)
            ]
            etag = digest([etag, str(offer)])
            return send(multipart(parts, boundary), content_type(boundary, offer.media_type), etag)
        offer = choose(accepted(), [Offer(OCTETS, multipart=True), Offer(OCTETS)])
        content = Segment.of(self._archive.bulk(one.entry, path))
        etag = digest([etag, str(offer)])
        immutable = self._immutable(one)
        if not offer.multipart:
            return send(Body((content,)), OCTETS, etag, immutable=immutable)
        boundary = boundary_for(etag)
        message = multipart([Part(OCTETS, (content,), f"{one.path}/bulkdata/{path}")], boundary)
        return send(message, content_type(boundary, OCTETS), etag, immutable=immutable)


def _native(one: Instance) -> bool:
    return one.entry.transfer_syntax_uid in NATIVE


def _frames(archive: Archive, one: Instance) -> Frames:
    try:
        return Frames(archive, one.entry)
    except CannotDecode as error:
        raise NotFound(f"the instance has no frames that can be told apart: {error}") from None
