"""The engine: bytes in, a clean instance and the identity taken off it out, or `Refused`.

Order of work for one instance (PS3.15 E.1.1):

1. the source is opened and walked once into raw elements (`source`, `wire`);
2. what the instance is known by is checked, its character set and its patient are found;
3. the plan of the profile and SOP class is carried out, everywhere (`plan`, `actions`, `run`);
4. what was kept is searched for the identity that went (`residual`); on suspicion the plan is carried out again with a
   cleaner, and what then still holds identity is refused;
5. pixel data is checked for what is not pixels (`pixeldata`), file meta information is made new, preamble zeroed.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import config
from config.errors import StorageUnavailable
from gateway.deidentify import image, pixeldata
from gateway.deidentify.actions import Piece
from gateway.deidentify.charset import Charset
from gateway.deidentify.errors import Refused
from gateway.deidentify.facts import collect_identity, original_uids, read_facts
from gateway.deidentify.patient import PatientKey, age_at
from gateway.deidentify.plan import Plan
from gateway.deidentify.profile import Profile
from gateway.deidentify.pseudonyms import UID_SYNTAX, Pseudonyms
from gateway.deidentify.residual import cleaner_of, terms_of
from gateway.deidentify.result import Result
from gateway.deidentify.run import Run
from gateway.deidentify.source import Source, open_source
from gateway.deidentify.standard import edition
from gateway.deidentify.vocabulary import standard_codes
from gateway.deidentify.wire import (
    PIXEL_DATA,
    Element,
    Limits,
    Reader,
    encode,
    encode_sequence,
)

IMPLEMENTATION_CLASS_UID = "2.25.130364920870157263920446151921349287316"
IMPLEMENTATION_VERSION_NAME = "CONSILIUM_1"

_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_CHARACTER_SET = 0x00080005
_AGE, _NAME, _PATIENT_ID = 0x00101010, 0x00100010, 0x00100020
_REMOVED, _METHOD, _METHOD_CODES, _TEMPORAL = 0x00120062, 0x00120063, 0x00120064, 0x00280303
_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."
_DIRECTORY = "1.2.840.10008.1.3.10"
_HIGH_TEXT_VRS = frozenset({b"LO", b"SH", b"ST", b"LT", b"UT", b"UC", b"PN"})


class Engine:
    """De-identifies instances; safe to share between threads, cheap to make per process.

    Parameters
    ----------
    pseudonym_key
        The deployment's secret; whoever has it can link pseudonyms to guessed identifiers.
    profiles
        By name, as `gateway.deidentify.profile.load_profiles` reads them.
    """

    def __init__(self, pseudonym_key: bytes, profiles: Mapping[str, Profile]) -> None:
        self._key = pseudonym_key
        self._profiles = dict(profiles)
        self._plans: dict[str, Plan] = {}
        self._pseudonyms: dict[str, Pseudonyms] = {}

    def pseudonyms(self, profile: str) -> Pseudonyms:
        """The family of pseudonyms a profile uses."""
        chosen = self._profile(profile)
        family = "" if chosen.pseudonyms == "deployment" else chosen.name
        if family not in self._pseudonyms:
            self._pseudonyms[family] = Pseudonyms(self._key, family)
        return self._pseudonyms[family]

    def _profile(self, name: str) -> Profile:
        try:
            return self._profiles[name]
        except KeyError:
            raise Refused("unknown-profile", "the origin names a profile that is not configured") from None

    def _plan(self, profile: Profile) -> Plan:
        if profile.name not in self._plans:
            self._plans[profile.name] = Plan(profile)
        return self._plans[profile.name]

    def run(
        self,
        source: bytes | Path,
        *,
        site_code: str,
        profile: str,
        site_charset: str | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> Result:
        """De-identify one instance.

        Parameters
        ----------
        source
            A Part 10 file in memory or on disk, or a bare little endian data set.
        site_code
            The hospital; its patients have pseudonyms of their own.
        profile
            Name of a profile.
        site_charset
            Character set the site really writes where it declares ISO_IR 6, 100 or 144.
        limits
            Bounds of what a source may ask for.

        Raises
        ------
        Refused
            Nothing may be passed on; the reason is a code of `gateway.deidentify.errors.REASONS`.
        StorageUnavailable
            The source file cannot be read.
        """
        try:
            return self._run(source, site_code, self._profile(profile), site_charset, limits)
        except (Refused, StorageUnavailable):
            raise
        except OSError as error:
            raise StorageUnavailable("the received file cannot be read; send it again") from error
        except MemoryError as error:
            raise StorageUnavailable("not enough memory to de-identify; send it again") from error
        except RecursionError:
            raise Refused("too-deep", "sequences are nested too deeply") from None
        except Exception as error:
            raise Refused("internal", type(error).__name__) from None

    # --- the steps ---

    def _run(
        self, source: bytes | Path, site_code: str, profile: Profile, site_charset: str | None, limits: Limits
    ) -> Result:
        opened = open_source(source, limits)
        elements = Reader(opened.buffer, limits).read(opened.start, opened.end, opened.explicit)
        by_tag = {element[0]: element for element in elements}
        buffer = opened.buffer
        uids = original_uids(buffer, by_tag)
        _check_known_by(
            uids.sop_class_uid, uids.sop_instance_uid, uids.study_instance_uid, uids.series_instance_uid
        )
        _check_documents(uids.sop_class_uid)
        plan = self._plan(profile)
        pseudonyms = self.pseudonyms(profile.name)
        charset = _charset(buffer, elements, by_tag, site_charset)
        key = PatientKey.of(
            buffer,
            by_tag,
            charset,
            uids.study_instance_uid,
            issuers_distinguish=profile.issuers == "distinguish",
        )
        patient = pseudonyms.patient(site_code, key.kind, *key.parts)

        run = Run(buffer, plan, pseudonyms, patient, site_code, charset, key.is_patient)
        run.explicit = opened.explicit
        run.site_charset = site_charset
        run.by_reference = 0x0040A730 in by_tag and _references_items(by_tag[0x0040A730])
        if "retain_uids" in profile.options:
            run.map_uids = lambda value: value.rstrip(b"\0 ")
        head, tail = _split(elements)
        inserted = _inserted(run, profile, by_tag, opened.explicit)
        pieces = self._emit(run, head, plan.top(uids.sop_class_uid), inserted, by_tag)

        terms = terms_of(tuple(dict.fromkeys(run.removed)))
        if terms.suspects(run.texts, run.prose, run.numbers, run.binaries, run.identifiers):
            run.begin(cleaner_of(terms))
            pieces = self._emit(run, head, plan.top(uids.sop_class_uid), inserted, by_tag)
            _verify(run)
        held = sum(len(piece) for piece in pieces if type(piece) is bytes)
        if held > limits.memory:
            raise Refused("too-large", "the header does not fit the memory one instance may use")

        blanks: list[pixeldata.Span] = []
        mask = None
        pixels = tail[0] if tail and tail[0].tag == PIXEL_DATA else None
        if pixels is not None:
            blanks, mask = _pixels(opened, by_tag, pixels)
            pieces.append((pixels.start, pixels.end))
            if blanks or mask:
                run.counts["blanked"] += len(blanks) + (mask is not None)
        _check_tail(tail[1:] if pixels is not None else tail, run.counts)

        mapped = {name: run.map_uids(getattr(uids, name).encode()).decode() for name in _MAPPED}
        facts = read_facts(run, by_tag, mapped, opened.transfer_syntax_uid, uids.sop_class_uid)
        meta = _file_meta(uids.sop_class_uid, facts.sop_instance_uid, opened.transfer_syntax_uid)
        if run.private_removed:
            run.counts["private removed"] = run.private_removed
        if run.residual:
            run.counts["residual"] = run.residual
        counts = {name: count for name, count in sorted(run.counts.items()) if count}
        screening = image.needs_screening(buffer, by_tag, uids.sop_class_uid)
        return Result(
            facts=facts,
            identity=collect_identity(buffer, elements, charset, opened.explicit),
            uids=uids,
            coerced=opened.coerced,
            counts=counts,
            needs_screening=screening,
            certificate={
                "profile": profile.name,
                "edition": edition(),
                "options": [option.code for option in profile.codes()],
                "software": f"Consilium {getattr(config, '__version__', '')}".strip(),
                "counts": counts,
                "needs_screening": screening,
                "character_set_corrected": bool(charset.corrected),
            },
            _source=opened,
            _pieces=[meta, *pieces],
            _pseudonyms=pseudonyms,
            _blanks=sorted(blanks),
            _masked=mask,
        )

    @staticmethod
    def _emit(
        run: Run,
        elements: list[Element],
        plan: Mapping[int, Any],
        inserted: dict[int, bytes],
        by_tag: Mapping[int, Element],
    ) -> list[Piece]:
        """Pieces of the main data set, with what is inserted at its place among the tags."""
        pieces: list[Piece] = []
        position = 0
        character_set = 0
        for tag in sorted(inserted):
            index = bisect_left(elements, (tag,), position)
            _extend(run, pieces, elements, position, index, plan)
            if tag == _CHARACTER_SET:
                character_set = len(pieces)
            pieces.append(inserted[tag])
            position = index + (index < len(elements) and elements[index][0] == tag)
        _extend(run, pieces, elements, position, len(elements), plan)
        pieces[character_set] = run.character_set(by_tag.get(_CHARACTER_SET))
        return pieces


_MAPPED = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")


def _extend(
    run: Run, pieces: list[Piece], elements: list[Element], start: int, end: int, plan: Mapping[int, Any]
) -> None:
    if start == end:
        return
    part = elements[start:end]
    emitted = run.emit(part, plan)
    if emitted is None:
        emitted = [(part[0].start, part[-1].end)] if _adjacent(part) else [(e.start, e.end) for e in part]
    pieces.extend(emitted)


def _adjacent(elements: list[Element]) -> bool:
    return all(first.end == second.start for first, second in itertools.pairwise(elements))


def _split(elements: list[Element]) -> tuple[list[Element], list[Element]]:
    """The header, and the pixel data with whatever follows it."""
    for index in range(len(elements) - 1, -1, -1):
        if elements[index].tag < PIXEL_DATA:
            return elements[: index + 1], elements[index + 1 :]
    return [], elements


def _check_known_by(sop_class: str, sop_instance: str, study: str, series: str) -> None:
    for name, value in (
        ("SOP Class UID", sop_class),
        ("SOP Instance UID", sop_instance),
        ("Study Instance UID", study),
        ("Series Instance UID", series),
    ):
        if not value:
            raise Refused("missing-uid", name)
        if len(value) > 64 or not UID_SYNTAX.match(value):
            raise Refused("malformed-uid", name)


def _check_documents(sop_class_uid: str) -> None:
    if sop_class_uid.startswith(_ENCAPSULATED):
        raise Refused("encapsulated-document", "the SOP class encapsulates a document")
    if sop_class_uid == _DIRECTORY:
        raise Refused("misplaced-attribute", "a media directory is no instance of a study")


def _high_texts(buffer: Any, elements: list[Element], found: list[bytes]) -> list[bytes]:
    for element in elements:
        if element[1] in _HIGH_TEXT_VRS:
            value = buffer[element[3] : element[4]]
            if not value.isascii():
                found.append(value)
        elif element[6]:
            for item in element[6]:
                if not any(inner.tag == _CHARACTER_SET for inner in item.elements):
                    _high_texts(buffer, item.elements, found)
    return found


def _charset(
    buffer: Any, elements: list[Element], by_tag: Mapping[int, Element], site_charset: str | None
) -> Charset:
    declared = by_tag.get(_CHARACTER_SET)
    value = bytes(buffer[declared.value : declared.value_end]) if declared is not None else b""
    return Charset.of(value, _high_texts(buffer, elements, []), site_charset)


def _references_items(element: Element, depth: int = 0) -> bool:
    """Whether content items refer to others by their position in the tree (0040,DB73)."""
    for item in element.items or ():
        for inner in item.elements:
            if inner.tag == 0x0040DB73 or (inner.tag == 0x0040A730 and _references_items(inner, depth + 1)):
                return True
    return False


@lru_cache(maxsize=64)
def _declared(profile: Profile, explicit: bool) -> dict[int, bytes]:
    """What says that, and how, the instance was de-identified (PS3.15 E.1.1, PS3.3 C.7.1.1)."""
    items = [
        encode(0x00080100, b"SH", option.code.encode(), explicit)
        + encode(0x00080102, b"SH", b"DCM", explicit)
        + encode(0x00080104, b"LO", option.meaning.encode()[:64], explicit)
        for option in profile.codes()
    ]
    if "retain_longitudinal_modified_dates" in profile.options:
        temporal = b"MODIFIED"
    elif "retain_longitudinal_full_dates" in profile.options:
        temporal = b"UNMODIFIED"
    else:
        temporal = b"REMOVED"
    method = f"Consilium {profile.name}, PS3.15 {edition()}".encode()[:64]
    return {
        _REMOVED: encode(_REMOVED, b"CS", b"YES", explicit),
        _METHOD: encode(_METHOD, b"LO", method, explicit),
        _METHOD_CODES: encode_sequence(_METHOD_CODES, items, explicit),
        _TEMPORAL: encode(_TEMPORAL, b"CS", temporal, explicit),
    }


def _inserted(run: Run, profile: Profile, by_tag: Mapping[int, Element], explicit: bool) -> dict[int, bytes]:
    """Elements every output has, whether the source had them or not, encoded, by tag."""
    inserted = _declared(profile, explicit).copy()
    inserted[_CHARACTER_SET] = b""  # its place; the value is known once all text is
    if _NAME not in by_tag:
        inserted[_NAME] = encode(_NAME, b"PN", run.patient.name.encode(), explicit)
    if _PATIENT_ID not in by_tag:
        inserted[_PATIENT_ID] = encode(_PATIENT_ID, b"LO", run.patient.patient_id.encode(), explicit)
    if _AGE not in by_tag and "retain_patient_characteristics" in profile.options:
        run.computed_age = age_at(run, by_tag)
        if run.computed_age:
            inserted[_AGE] = encode(_AGE, b"AS", run.computed_age.encode(), explicit)
    return inserted


def _verify(run: Run) -> None:
    """After cleaning nothing may be left that the exact search finds (fail closed)."""
    cleaner = run.cleaner
    assert cleaner is not None
    codes = standard_codes()
    for value in run.codes:
        for one in value.decode("utf-8").split("\\"):
            if one.strip("\0 ") not in codes and cleaner.find(one):
                raise Refused("residual-identity", "in a code that could not be cleaned")
    for values, prose in ((run.texts, False), (run.prose, True)):
        for value in values:
            text = value.decode("utf-8")
            if cleaner.find(text, prose=prose):
                raise Refused("residual-identity", "in a text that could not be cleaned")
    if any(cleaner.in_binary(value) for value in run.binaries):
        raise Refused("residual-identity", "in a value that is binary")
    if any(cleaner.is_identifier(value) for value in (*run.numbers, *run.identifiers)):
        raise Refused("residual-identity", "in a number or a UID")


def _pixels(
    source: Source, by_tag: Mapping[int, Element], pixels: Element
) -> tuple[list[pixeldata.Span], tuple[pixeldata.Span, pixeldata.Bits] | None]:
    """What in the pixel data is to be blanked, and whether unused bits are to be cleared."""
    buffer = source.buffer
    cell = image.bits(buffer, by_tag)
    expected = image.native_length(buffer, by_tag, cell)
    span = (pixels.value, pixels.value_end)
    if pixels.fragments is not None:
        return pixeldata.codestreams(buffer, pixels.fragments[1:], source.transfer_syntax_uid), None
    if pixels.items is not None:
        raise Refused("unparseable", "pixel data that is a sequence")
    blanks = pixeldata.excess(buffer, span, expected)
    mask = (span, cell) if pixeldata.unused_bits(buffer, span, cell) else None
    return blanks, mask


def _check_tail(elements: list[Element], counts: Counter[str]) -> None:
    """After the pixel data only what goes may come: padding, signatures, private elements."""
    for element in elements:
        if element.tag in (0xFFFAFFFA, 0xFFFCFFFC) or element.tag & 0x10000:
            counts["X"] += 1
        else:
            raise Refused("misplaced-attribute", "an attribute after the pixel data")


def _file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """A zeroed preamble and new file meta information (PS3.10 7.1)."""
    group = (
        encode(0x00020001, b"OB", b"\0\1")
        + encode(0x00020002, b"UI", sop_class_uid.encode())
        + encode(0x00020003, b"UI", sop_instance_uid.encode())
        + encode(0x00020010, b"UI", transfer_syntax_uid.encode())
        + encode(0x00020012, b"UI", IMPLEMENTATION_CLASS_UID.encode())
        + encode(0x00020013, b"SH", IMPLEMENTATION_VERSION_NAME.encode())
    )
    return bytes(128) + b"DICM" + encode(0x00020000, b"UL", len(group).to_bytes(4, "little")) + group
