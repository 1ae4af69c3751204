"""The plan: for one profile, what happens to each attribute, compiled from the tables once and kept.

Decisions, in order: Table E.1-1 and the supplement with the profile's options; for what they do not list, the VR. An
attribute that neither the dictionary nor a rule knows has no entry: the run refuses the instance.

Where the table says X but the IOD requires the attribute (Type 1 or 2), the value is replaced or emptied instead, so a
valid object stays valid. Where options disagree, C wins over K: a date of a retained device is still shifted.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.deidentify import actions
from gateway.deidentify.actions import Handler
from gateway.deidentify.dictionary import keyword
from gateway.deidentify.profile import Profile
from gateway.deidentify.standard import Row, confidentiality_table
from gateway.deidentify.structured import content_sequence
from gateway.deidentify.types import AttributeTypes
from gateway.deidentify.types import load as load_types
from gateway.deidentify.wire import DICTIONARY_VR, PIXEL_DATA

Action = Handler | actions._Keep

# What the residual scan looks for when an attribute with such content goes (`gateway.deidentify.terms`).
KINDS: dict[int, str] = {
    **dict.fromkeys((0x00100020, 0x00101000, 0x00101090, 0x00100221), "id"),
    **dict.fromkeys((0x00080050, 0x00200010, 0x00380010, 0x00380060, 0x00101050), "id"),
    **dict.fromkeys(
        (0x00401001, 0x00400009, 0x00400253, 0x00402016, 0x00402017, 0x0040050A, 0x00400551), "id"
    ),
    **dict.fromkeys((0x00120040, 0x00120042, 0x40080040, 0x40080200, 0x00080054, 0x00400512), "id"),
    **dict.fromkeys((0x00102154, 0x00080094, 0x00402010, 0x00401103, 0x0040A354), "phone"),
    **dict.fromkeys((0x00102155, 0x00402011, 0x00401104), "phone"),
    **dict.fromkeys((0x00101040, 0x00080081, 0x00401102, 0x00080092, 0x0040A353), "address"),
    **dict.fromkeys((0x00080080, 0x00081040, 0x00380400, 0x00380300, 0x00102299, 0x00120031), "place"),
    **dict.fromkeys((0x00120010, 0x00120060, 0x0040A027, 0x00321033, 0x0038001E), "place"),
    0x00100030: "birth",
    0x0016004D: "name",
    0x00100012: "name",
}

_SPECIAL: dict[int, Handler] = {
    0x00100010: actions.patient_name,
    0x00100020: actions.patient_id,
    0x00080050: actions.pseudonymising("id", "accession"),
    0x00420011: actions.refusing("encapsulated-document"),
    0x0040A730: content_sequence,
}

_DATE_OPTIONS = ("retain_longitudinal_modified_dates", "retain_longitudinal_full_dates")

# UIDs that name a kind of thing, defined by a standard or a manufacturer.
_CLASSES = (
    "CodingSchemeUID ContextUID MappingResourceUID ContextGroupExtensionCreatorUID ColorSpaceUID "
    "CodingSchemeResourcesUID LDAPSchemaUID TemplateUID PrivateDataElementCreatorUID"
)
_CLASS_KEYWORDS = frozenset(_CLASSES.split())
_TEXT = frozenset({b"LO", b"SH", b"UC", b"AE", b"CS"})
_LONG_TEXT = frozenset({b"ST", b"LT", b"UT"})
_BINARY = frozenset({b"OB", b"OW", b"UN", b"OF", b"OD", b"OL", b"OV"})
_PERSON_SEQUENCES = frozenset(
    {
        0x00401101,
        0x00081072,
        0x00340001,
        0x00080082,
    }  # who performed or asked, stream identity, institution code
)


def describes(tag: int) -> bool:
    """Whether an unlisted short text is free text by its name (Clean Descriptors applies to it)."""
    name = keyword(tag)
    return name.endswith(
        ("Description", "Comments", "Comment", "Title", "Notes", "Text", "Reason", "Label", "Name")
    )


def resolve(code: str, kind: str) -> str:
    """A compound code by the Type of the attribute (PS3.15 E.1.1): X unless Z or D is required.

    Parameters
    ----------
    kind
        ``1``, ``1C``, ``2``, ``2C``, ``3``, or ``?`` when the IOD is not known.
    """
    choices = code.rstrip("*").split("/")
    if len(choices) == 1:
        return choices[0]
    if "U" in choices:
        return "U"
    wanted = {"1": "D", "1C": "D", "2": "Z", "2C": "Z", "?": choices[-1]}.get(kind, choices[0])
    if wanted in choices:
        return wanted
    return choices[-1] if wanted == "D" or (wanted == "Z" and choices[0] == "X") else choices[0]


def effective(row: Row, profile: Profile, kind: str, mandatory: bool = True) -> str:
    """The single action code for an attribute under a profile.

    Returns
    -------
    str
        One of X, Z, D, K, C, U.
    """
    chosen = {row.options[name] for name in row.options if name in profile.options}
    if "C" in chosen:
        return "C"
    if "K" in chosen:
        return "K"
    code = resolve(row.basic, kind)
    if code == "X" and mandatory:  # an X the IOD does not allow
        return {"1": "D", "2": "Z"}.get(kind, "X")
    return code


class Plan:
    """Handlers by tag for one profile; `top` for a SOP class, `nested` below a sequence.

    Parameters
    ----------
    profile
        Its options decide.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._types: AttributeTypes = load_types()
        self._table = confidentiality_table()
        self._top: dict[str, dict[int, Action]] = {}
        self._nested: dict[tuple[int, bool], dict[int, Action]] = {}
        self._default = {tag: self._action(tag, vr, "3", False) for tag, vr in DICTIONARY_VR.items()}
        del self._default[0x00080005]  # the output has its own Specific Character Set
        for tag in self._table:
            if tag not in self._default:
                self._default[tag] = self._action(tag, self._vr_of_newer(tag), "3", False)

    @property
    def safe_private(self) -> bool:
        return "retain_safe_private" in self.profile.options

    def described(self, tag: int) -> str:
        """The action for documentation: one code, or the compound one where only the IOD can tell."""
        row = self._table[tag]
        if tag in _SPECIAL:
            return {0x0040A730: "content items", 0x00420011: "refused"}.get(tag, "pseudonym")
        chosen = {row.options[name] for name in row.options if name in self.profile.options}
        return "C" if "C" in chosen else "K" if "K" in chosen else row.basic

    def top(self, sop_class_uid: str) -> Mapping[int, Action]:
        """Handlers of the main data set of a SOP class."""
        iod = self._types.iod_of.get(sop_class_uid, "")
        plan = self._top.get(iod)
        if plan is None:
            plan = dict(self._default)
            if iod:
                for tag in self._types.top[iod]:
                    kind, mandatory = self._type_at_top(tag, sop_class_uid)
                    plan[tag] = self._action(tag, DICTIONARY_VR[tag], kind, mandatory)
            else:
                for tag, row in self._table.items():
                    if "/" in row.basic:
                        plan[tag] = self._action(tag, DICTIONARY_VR.get(tag, b"UN"), "?", False)
            self._top[iod] = plan
        return plan

    def nested(self, parent: int, replace: bool = False) -> Mapping[int, Action]:
        """Handlers of the items of a sequence.

        Parameters
        ----------
        replace
            Every text in the items is replaced (action D of the sequence).
        """
        plan = self._nested.get((parent, replace))
        if plan is None:
            plan = dict(self._default)
            plan.pop(PIXEL_DATA, None)
            for tag, kind in self._types.nested.get(parent, {}).items():
                plan[tag] = self._action(tag, DICTIONARY_VR[tag], kind, True)
            if replace:
                self._replace_texts(plan)
            self._nested[parent, replace] = plan
        return plan

    @staticmethod
    def _replace_texts(plan: dict[int, Action]) -> None:
        kept = (actions.keep_text, actions.clean_text, actions.clean_required_text)
        for tag, action in plan.items():
            if action in kept:
                plan[tag] = actions.replacing("", DICTIONARY_VR[tag])
            elif action is actions.recurse:
                plan[tag] = actions.recurse_replacing

    def _type_at_top(self, tag: int, sop_class_uid: str) -> tuple[str, bool]:
        iod = self._types.iod_of.get(sop_class_uid)
        if iod is None:
            return "?", False
        kind, mandatory = self._types.top[iod].get(tag, ("3", False))
        if not mandatory and kind in {"1C", "2C"}:
            kind = "3"  # a condition in a module that need not be there
        return kind, mandatory

    @staticmethod
    def _vr_of_newer(tag: int) -> bytes:
        """VR by name of a listed attribute that is newer than the dictionary."""
        name = confidentiality_table()[tag].name
        return (
            b"DT"
            if name.endswith(("DateTime", "Date Time"))
            else b"SQ"
            if name.endswith("Sequence")
            else b"UN"
        )

    # --- one attribute ---

    def _action(self, tag: int, vr: bytes, kind: str, mandatory: bool) -> Action:
        if tag in _SPECIAL:
            return _SPECIAL[tag]
        row = self._table.get(tag)
        if row is None:
            return self._unlisted(tag, vr, kind)
        return self._handler(effective(row, self.profile, kind, mandatory), row, tag, vr, kind)

    def _handler(self, code: str, row: Row, tag: int, vr: bytes, kind: str) -> Action:
        known = KINDS.get(tag, "name" if vr == b"PN" else "")
        if code == "K":
            return self._keep(tag, vr, row, kind)
        if code == "C":
            return self._clean(tag, vr, row, kind)
        if code == "U":
            return actions.recurse if vr == b"SQ" else actions.map_uids
        if vr == b"SQ":
            if code == "D":
                return actions.recurse_replacing if tag in _PERSON_SEQUENCES else actions.recurse
            return actions.empty_sequence if code == "Z" else actions.remove_sequence
        if code == "D":
            if vr == b"UI":
                return actions.map_uids
            name = keyword(tag)
            if known == "id" or (vr in (b"LO", b"SH", b"UC") and name.endswith(("ID", "Identifier"))):
                return actions.pseudonymising("id", name)
            return actions.replacing(known, vr)
        if code == "Z":
            return actions.emptying(known)
        return actions.removing(known) if known else actions.remove

    def _basic(self, tag: int, vr: bytes, row: Row, kind: str) -> Handler:
        handler = self._handler(resolve(row.basic, kind), row, tag, vr, kind)
        assert not isinstance(handler, actions._Keep)
        return handler

    def _keep(self, tag: int, vr: bytes, row: Row, kind: str) -> Action:
        if vr == b"UI":
            return actions.keep_class_uid
        if vr in (b"DA", b"DT"):
            return actions.keep_date(self._basic(tag, vr, row, kind), datetime=vr == b"DT")
        return self._by_vr(tag, vr, kind) or self._basic(tag, vr, row, kind)

    def _clean(self, tag: int, vr: bytes, row: Row, kind: str) -> Action:
        if vr in (b"DA", b"DT"):
            return actions.shifting(self._basic(tag, vr, row, kind), datetime=vr == b"DT")
        if vr == b"TM":
            return actions.keep_time(self._basic(tag, vr, row, kind))
        if vr == b"AE":
            return actions.application_entity
        if vr == b"SQ":
            return actions.recurse
        if vr in _BINARY:
            return self._basic(tag, vr, row, kind)  # bytes cannot be cleaned of what is not understood
        if vr in _TEXT or vr in _LONG_TEXT:
            return actions.clean_required_text if kind in {"1", "1C"} else actions.clean_text
        return self._by_vr(tag, vr, kind) or self._basic(tag, vr, row, kind)

    def _unlisted(self, tag: int, vr: bytes, kind: str) -> Action:
        if tag & 0xFFFF == 0 or tag >> 16 < 8 or tag == PIXEL_DATA:
            return actions.remove  # group lengths; the pixel data has its own way
        synthetic = Row(tag, keyword(tag), "X/Z/D", {})
        if vr in (b"DA", b"DT", b"TM"):
            dated = Row(tag, keyword(tag), "X/Z/D", {_DATE_OPTIONS[0]: "C", _DATE_OPTIONS[1]: "K"})
            return self._handler(effective(dated, self.profile, kind), dated, tag, vr, kind)
        if vr in (b"PN", b"UR"):
            return self._handler(resolve("X/Z/D", kind), synthetic, tag, vr, kind)
        if vr == b"UI":
            name = keyword(tag)
            of_class = "SOPClass" in name or "TransferSyntax" in name or name in _CLASS_KEYWORDS
            return actions.keep_class_uid if of_class else actions.map_uids
        if vr in _LONG_TEXT or (vr in _TEXT and vr != b"CS" and describes(tag)):
            if "clean_descriptors" in self.profile.options or (vr in _TEXT and not _free(tag)):
                return actions.clean_required_text if kind in {"1", "1C"} else actions.clean_text
            return self._handler(resolve("X/Z/D", kind), synthetic, tag, vr, kind)
        return self._by_vr(tag, vr, kind) or actions.remove

    @staticmethod
    def _by_vr(tag: int, vr: bytes, kind: str) -> Action | None:
        if vr == b"SQ":
            return actions.recurse
        if vr in _TEXT or vr in _LONG_TEXT:
            return actions.keep_text
        if vr in (b"DS", b"IS"):
            return actions.keep_number
        if vr in _BINARY:
            return actions.keep_binary
        if vr == b"TM":
            return actions.keep_time(actions.remove)
        if vr == b"AS":
            return actions.keep_age
        if vr in (b"PN", b"UR", b"UI", b"DA", b"DT"):
            return None
        return actions.KEEP


def _free(tag: int) -> bool:
    """Short texts that only describe: without Clean Descriptors they go."""
    return keyword(tag).endswith(("Description", "Comments", "Comment", "Title", "Notes", "Reason"))
