"""Rendered and thumbnail resources (PS3.18 10.4.1.1.2, 10.4.1.1.3): pictures for people without a DICOM viewer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from flask import Response, request

from config.errors import Invalid, NotFound
from storage.recent import Recent
from viewer.dicomweb.accept import accepted
from viewer.dicomweb.body import Body, Generated, Segment, digest, send
from viewer.dicomweb.frames import Frames, frame_list
from viewer.dicomweb.multipart import Part, boundary_for, content_type, multipart
from viewer.dicomweb.negotiation import Offer, choose
from viewer.dicomweb.problems import NoRendering
from viewer.dicomweb.resources import Instance, Resources
from viewer.rendering.attributes import whole
from viewer.rendering.description import CannotDecode
from viewer.rendering.geometry import Viewport
from viewer.rendering.grey import FUNCTIONS, Window
from viewer.rendering.render import MEDIA_TYPES, Options, render

THUMBNAIL = Viewport(128, 128)
KEPT_BYTES = 32 << 20
"""Thumbnails kept in memory by one process."""

_PARAMETERS = frozenset({"accept", "window", "viewport", "quality", "annotation", "iccprofile"})


def options_of_request() -> Options:
    """The query parameters of a rendering (PS3.18 8.3.5).

    Raises
    ------
    Invalid
        Naming the parameter that cannot be read.
    """
    for name in request.args:
        if name not in _PARAMETERS:
            raise Invalid(f"unknown parameter; a rendering takes {', '.join(sorted(_PARAMETERS))}")
    found = Options()
    if "quality" in request.args:
        quality = request.args["quality"]
        if not quality.isdecimal() or not 1 <= int(quality[:9]) <= 100:
            raise Invalid("quality must be 1 to 100")
        found = replace(found, quality=int(quality))
    if "viewport" in request.args:
        found = replace(found, viewport=Viewport.parse(request.args["viewport"]))
    if "window" in request.args:
        found = replace(found, window=_window(request.args["window"]))
    if request.args.get("iccprofile", "no") != "no":
        raise Invalid("iccprofile must be no: colours are sent as stored")
    return found


def _window(text: str) -> Window:
    center, _, rest = text.partition(",")
    width, _, function = rest.partition(",")
    function = (function or "linear").strip().upper().replace("-", "_")
    try:
        window = Window(float(center), float(width), function)
        if not (abs(window.center) < 1e12 and 0 < window.width < 1e12) or function not in FUNCTIONS:
            raise ValueError
    except ValueError:
        raise Invalid(
            "window must be center,width,function with a positive width and linear, linear-exact or sigmoid"
        ) from None
    return window


class Rendered:
    """The rendered and thumbnail routes of one application."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._thumbnails = Recent[bytes](KEPT_BYTES)

    # --- rendered ------------------------------------------------------------------------------------------------

    def resource(self, study: str, series: str | None = None, instance: str | None = None) -> Response:
        """A study, series or instance: all its frames in a multipart message, or the most telling one alone."""
        options = options_of_request()
        pictured = self._pictured(self._resources.instances(study, series, instance))
        offer = choose(accepted(), [Offer(m, multipart=p) for p in (False, True) for m in MEDIA_TYPES])
        if not offer.multipart:
            chosen = pictured[len(pictured) // 2]
            return self._single(chosen, representative(chosen[1]), offer, options)
        wanted = [(instance, frames, n) for instance, frames in pictured for n in range(1, frames.count + 1)]
        return self._several(wanted, offer, options)

    def frames(self, study: str, series: str, instance: str, frames: str) -> Response:
        options = options_of_request()
        numbers = frame_list(frames)
        found = self._resources.instance(study, series, instance)
        source = Frames(self._resources.archive, found.entry)
        source.check(numbers)
        shapes = (False, True) if len(numbers) == 1 else (True,)
        offer = choose(accepted(), [Offer(m, multipart=p) for p in shapes for m in MEDIA_TYPES])
        if not offer.multipart:
            return self._single((found, source), numbers[0], offer, options)
        return self._several([(found, source, n) for n in numbers], offer, options)

    def _pictured(self, instances: Sequence[Instance]) -> list[tuple[Instance, Frames]]:
        """The instances that carry an image."""
        found = []
        for instance in instances:
            try:
                found.append((instance, Frames(self._resources.archive, instance.entry)))
            except (NotFound, CannotDecode):
                continue
        if not found:
            raise NoRendering("there is no image in it")
        return found

    def _single(self, what: tuple[Instance, Frames], number: int, offer: Offer, options: Options) -> Response:
        options = replace(options, media_type=offer.media_type)
        etag = self._etag([(what[0], what[1], number)], offer, options)
        if request.if_none_match.contains(etag):
            return send(Body(()), offer.media_type, etag)
        picture = self._picture(what[1], number, options)
        return send(Body((Segment.of(picture),)), offer.media_type, etag)

    def _several(
        self, wanted: Sequence[tuple[Instance, Frames, int]], offer: Offer, options: Options
    ) -> Response:
        options = replace(options, media_type=offer.media_type)
        etag = self._etag(wanted, offer, options)
        boundary = boundary_for(etag)

        def part(instance: Instance, frames: Frames, number: int) -> Generated:
            location = f"{instance.path}/frames/{number}/rendered"

            def make() -> Iterator[bytes]:
                picture = self._picture(frames, number, options)
                yield Part(offer.media_type, (Segment.of(picture),), location).head(boundary)
                yield picture

            return Generated(make)

        body = multipart([part(*one) for one in wanted], boundary)
        return send(body, content_type(boundary, offer.media_type), etag)

    def _picture(self, frames: Frames, number: int, options: Options) -> bytes:
        archive, entry = self._resources.archive, frames.entry
        try:
            return render(
                archive.frame(entry, number),
                frames.described,
                entry.metadata,
                number,
                lambda path: archive.bulk(entry, path),
                options,
            )
        except CannotDecode as error:
            raise NoRendering(str(error)) from None

    def _etag(self, wanted: Sequence[tuple[Instance, Frames, int]], offer: Offer, options: Options) -> str:
        archive = self._resources.archive
        return digest([str(offer), repr(options), *(f"{archive.etag(i.entry)} {n}" for i, _, n in wanted)])

    # --- thumbnails ----------------------------------------------------------------------------------------------

    def thumbnail(
        self, study: str, series: str | None = None, instance: str | None = None, frames: str | None = None
    ) -> Response:
        """One small JPEG that stands for the resource."""
        options = options_of_request()
        options = replace(options, quality=80, viewport=options.viewport or THUMBNAIL)
        choose(accepted(), [Offer("image/jpeg")])
        if series is None:
            series = self._telling_series(study)
        pictured = self._pictured(self._resources.instances(study, series, instance))
        chosen = pictured[len(pictured) // 2]
        number = representative(chosen[1]) if frames is None else frame_list(frames)[0]
        chosen[1].check([number])
        etag = self._etag([(*chosen, number)], Offer("image/jpeg"), options)
        picture = self._thumbnails.get(etag)
        if picture is None:
            picture = self._picture(chosen[1], number, options)
            self._thumbnails.put(etag, picture, len(picture))
        return send(Body((Segment.of(picture),)), "image/jpeg", etag)

    def _telling_series(self, study: str) -> str:
        """The first series with images, taken from the modality so that not every manifest is read."""
        without = ("SR", "KO", "PR", "DOC", "AU", "PLAN", "REG", "FID", "RWV", "ECG", "EPS", "HD")
        rows = self._resources.series_of(study)
        return next((row for row in rows if row.modality not in without), rows[0]).series_instance_uid


def representative(frames: Frames) -> int:
    """The frame that stands for an instance: the one it names (PS3.3 C.7.6.6), else the middle one."""
    named = whole(frames.entry.metadata, "RepresentativeFrameNumber")
    return named if 1 <= named <= frames.count else (frames.count + 1) // 2
