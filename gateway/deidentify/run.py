"""The state of one instance while the plan is carried out over its tree of raw elements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gateway.deidentify import private
from gateway.deidentify.actions import KEEP, Piece
from gateway.deidentify.charset import ASCII_SETS, UTF8, Charset
from gateway.deidentify.dictionary import repeating_vr
from gateway.deidentify.errors import Refused
from gateway.deidentify.plan import KINDS, Plan
from gateway.deidentify.pseudonyms import Patient, Pseudonyms
from gateway.deidentify.wire import (
    DICTIONARY_VR,
    PIXEL_DATA,
    TEXT_VRS,
    UNDEFINED,
    Element,
    Item,
    encode,
    header,
    tag_text,
)

if TYPE_CHECKING:
    from gateway.deidentify.cleaner import Cleaner

_ITEM = b"\xfe\xff\x00\xe0"
_ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
_CHARACTER_SET = 0x00080005
_CHARSET_VRS = frozenset({b"LO", b"SH", b"ST", b"LT", b"UT", b"UC", b"PN"})


def size(pieces: list[Piece]) -> int:
    """Bytes the pieces will take."""
    return sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)


class Run:
    """One instance: its source, the plan, and what was found on the way.

    The handlers of `gateway.deidentify.actions` read and change this. A run is done once without a `cleaner`; if the
    scan of what it kept finds identity, it is done again with one.
    """

    BINARY_SEARCHED = 1 << 20  # bytes of a binary value that is searched as text

    def __init__(
        self,
        buffer: Any,
        plan: Plan,
        pseudonyms: Pseudonyms,
        patient: Patient,
        site_code: str,
        charset: Charset,
        is_patient: Callable[[str], bool],
    ) -> None:
        self.buffer = buffer
        self.plan = plan
        self.pseudonyms = pseudonyms
        self.patient = patient
        self.site_code = site_code
        self.charset = charset
        self.site_charset: str | None = None
        self.is_patient = is_patient
        self.by_reference = False
        self.explicit = True
        self.computed_age = ""
        self.shifts = "retain_longitudinal_modified_dates" in plan.profile.options
        self.text_shift: int | None = patient.shift if self.shifts else None
        self.map_uids: Callable[[bytes], bytes] = pseudonyms.uids
        self.removed: list[tuple[str, bytes, tuple[str, ...]]] = []
        self.begin(None)

    def begin(self, cleaner: Cleaner | None) -> None:
        """Start a pass over the tree."""
        self.cleaner = cleaner
        self.counts: Counter[str] = Counter()
        self.residual = 0
        self.private_removed = 0
        self.depth = 0
        self.texts: list[bytes] = []
        self.codes: list[bytes] = []  # cleaned values of CS and the like
        self.prose: list[bytes] = []
        self.numbers: list[bytes] = []
        self.binaries: list[bytes] = []
        self.identifiers: list[bytes] = []
        self.replaced: dict[int, bytes] = {}  # of the main data set
        self.left_out: set[int] = set()
        self.utf8 = False
        self.removed.clear()

    @property
    def plain(self) -> bool:
        return self.charset.plain

    # --- reading ---

    def value(self, element: Element) -> bytes:
        return bytes(self.buffer[element.value : element.value_end])

    def text(self, element: Element) -> str:
        """Decoded text with padding.

        Raises
        ------
        Refused
            When its character set cannot decode it.
        """
        return self.charset.decode(self.value(element), name=element.vr == b"PN")

    def identifier(self, purpose: str, text: str) -> str:
        return self.pseudonyms.identifier(purpose, self.site_code, text)

    def note(self, kind: str, element: Element) -> None:
        """Remember identity that is being removed, for the residual scan."""
        value = self.buffer[element.value : element.value_end]
        if value and len(value) <= 4096:
            self.removed.append((kind, bytes(value), self.charset.identity))

    def note_all(self, element: Element) -> None:
        if element.items:
            self.note_items(element.items)

    def note_items(self, items: list[Item]) -> None:
        """Remember names and identifiers inside items that go as a whole."""
        for item in items:
            outer = self.charset
            self._enter(item)
            for element in item.elements:
                if element.items:
                    self.note_items(element.items)
                else:
                    kind = KINDS.get(element.tag) or ("name" if element.vr == b"PN" else "")
                    if kind:
                        self.note(kind, element)
            self.charset = outer

    # --- writing ---

    def put(self, element: Element, value: bytes) -> bytes:
        """The element again with another value."""
        vr = element.vr
        if vr == b"UN":
            vr = DICTIONARY_VR.get(element.tag, vr)
        if self.depth == 0:
            self.replaced[element.tag] = value
        if not value.isascii():
            self.utf8 = True
        return encode(element.tag, vr, value, element.explicit)

    def put_sequence(self, element: Element, pieces: list[Piece]) -> list[Piece]:
        """A sequence again with other items, in the form of length it had."""
        vr = element.vr
        if element.undefined and pieces:
            return [header(element.tag, vr, UNDEFINED, element.explicit), *pieces, _SEQUENCE_END]
        return [header(element.tag, vr, size(pieces), element.explicit), *pieces]

    def sequence(
        self,
        element: Element,
        plan: Mapping[int, Any],
        choose: Callable[[Item], Mapping[int, Any] | None] | None = None,
    ) -> Any:
        """Carry the plan out in each item.

        Parameters
        ----------
        choose
            Gives the plan of an item, or None to leave the item out.
        """
        pieces: list[Piece] = []
        changed = False
        self.depth += 1
        for item in element.items or ():
            outer = self.charset
            self._enter(item)
            chosen = plan if choose is None else choose(item)
            inner = None if chosen is None else self.emit(item.elements, chosen)
            self.charset = outer
            if chosen is None:
                changed = True
            elif inner is None:
                pieces.append((item.start, item.end))
            else:
                changed = True
                if item.undefined:
                    pieces += [_ITEM + b"\xff\xff\xff\xff", *inner, _ITEM_END]
                else:
                    pieces += [_ITEM + size(inner).to_bytes(4, "little"), *inner]
        self.depth -= 1
        return self.put_sequence(element, pieces) if changed else KEEP

    def _enter(self, item: Item) -> None:
        """Take over the Specific Character Set of an item, if it has one."""
        for element in item.elements:
            if element.tag >= _CHARACTER_SET:
                if element.tag == _CHARACTER_SET:
                    high = [
                        value
                        for part in item.elements
                        if part.vr in _CHARSET_VRS and not (value := self.value(part)).isascii()
                    ]
                    self.charset = Charset.of(self.value(element), high, self.site_charset)
                return

    def emit(self, elements: list[Element], plan: Mapping[int, Any]) -> list[Piece] | None:
        """Pieces of a data set after the plan, or None when nothing in it changes."""
        pieces: list[Piece] = []
        start = end = -1  # the span being collected
        changed = False
        get = plan.get
        safe: dict[int, str] | None = None
        piece: Any
        for element in elements:
            tag = element[0]
            action = get(tag)
            if action is KEEP:
                piece = KEEP if element[1] not in TEXT_VRS else self._mistyped(element)
            elif action is not None:
                piece = action(self, element)
            elif tag & 0x10000:
                if safe is None:
                    safe = private.kept(self, elements) if self.plan.safe_private else {}
                if tag in safe:
                    piece = self._safe(element, safe[tag])
                else:
                    self._unsafe(element)
                    piece = None
            else:
                self._unlisted(element)
                piece = None
            if piece is KEEP:
                if element[2] == end:
                    end = element[5]
                else:
                    if start >= 0:
                        pieces.append((start, end))
                    start, end = element[2], element[5]
                continue
            changed = True
            if start >= 0:
                pieces.append((start, end))
                start = end = -1
            if piece is None:
                if not self.depth:
                    self.left_out.add(tag)
                continue
            if type(piece) is bytes:
                pieces.append(piece)
            else:
                pieces.extend(piece)
        if not changed:
            return None
        if start >= 0:
            pieces.append((start, end))
        return pieces

    def _mistyped(self, element: Element) -> Any:
        from gateway.deidentify.actions import keep_value

        return keep_value(self, element)

    def _safe(self, element: Element, vr: str) -> Any:
        if 0x10 <= element[0] & 0xFFFF <= 0xFF:
            return KEEP
        return private.keep(self, element, vr)

    def _unsafe(self, element: Element) -> None:
        if element[1] == b"PN":
            self.note("name", element)
        self.private_removed += 1

    def _unlisted(self, element: Element) -> None:
        """What the plan has no entry for: repeating groups and group lengths go, the rest is not understood."""
        tag = element.tag
        group = tag >> 16
        if element.vr == b"PN":
            self.note("name", element)
        if tag == _CHARACTER_SET or tag & 0xFFFF == 0:
            return
        if group & 0xFF00 in (0x5000, 0x6000):
            self.counts["X"] += 1
            return
        if group < 8:
            raise Refused("misplaced-attribute", f"{tag_text(tag)} in a data set")
        if tag == PIXEL_DATA:
            raise Refused("misplaced-attribute", "pixel data inside a sequence that goes")
        if repeating_vr(tag) is not None:
            self.counts["X"] += 1  # retired, and nothing that is shown
            return
        raise Refused("unknown-attribute", tag_text(tag))

    # --- the character set of the output ---

    def character_set(self, declared: Element | None) -> bytes:
        """Specific Character Set of the output: as it was while that is true, else ISO_IR 192."""
        if self.charset.plain and not (self.utf8 and self.charset.declared in ASCII_SETS):
            return self.value_of(declared)
        return encode(_CHARACTER_SET, b"CS", UTF8.encode(), declared.explicit if declared else self.explicit)

    def value_of(self, element: Element | None) -> bytes:
        """Encoded bytes of an element as it stands in the source."""
        return bytes(self.buffer[element.start : element.end]) if element is not None else b""
