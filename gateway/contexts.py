"""Which presentation contexts are accepted: every storage SOP class of the standard, in every encoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from pydicom.uid import UID, UID_dictionary
from pynetdicom import register_uid
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

VERIFICATION = UID("1.2.840.10008.1.1")

# Named "Storage" in PS3.6 and yet no instance of a patient's study: the Media Storage Directory, Storage Commitment,
# and the Non-Patient Object Storage classes (PS3.4 GG), which have no Study Instance UID to be kept under.
_NOT_OF_A_STUDY = frozenset(
    {
        "1.2.840.10008.1.3.10",
        "1.2.840.10008.1.20.1",
        "1.2.840.10008.1.20.2",
        "1.2.840.10008.5.1.4.1.1.200.1",
        "1.2.840.10008.5.1.4.1.1.200.3",
        "1.2.840.10008.5.1.4.1.1.200.7",
        "1.2.840.10008.5.1.4.1.1.201.1",
        "1.2.840.10008.5.1.4.38.1",
        "1.2.840.10008.5.1.4.39.1",
        "1.2.840.10008.5.1.4.43.1",
        "1.2.840.10008.5.1.4.44.1",
        "1.2.840.10008.5.1.4.45.1",
    }
)

# Their data sets are not whole: pixels behind a URL (JPIP), live streams (SMPTE), or no DICOM encoding any more.
_NOT_SELF_CONTAINED = frozenset(
    {
        "1.2.840.10008.1.2.4.94",
        "1.2.840.10008.1.2.4.95",
        "1.2.840.10008.1.2.4.204",
        "1.2.840.10008.1.2.4.205",
        "1.2.840.10008.1.2.6.1",
        "1.2.840.10008.1.2.6.2",
        "1.2.840.10008.1.2.7.1",
        "1.2.840.10008.1.2.7.2",
        "1.2.840.10008.1.2.7.3",
        "1.2.840.10008.1.20",
    }
)


@lru_cache(maxsize=1)
def standard_storage_classes() -> frozenset[str]:
    """SOP Class UIDs of everything a study can hold, retired classes included (PS3.4 B.5, B.6; PS3.6 A)."""
    listed = {
        uid for uid, (name, kind, *_) in UID_dictionary.items() if kind == "SOP Class" and "Storage" in name
    }
    listed |= {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    return frozenset(listed - _NOT_OF_A_STUDY)


@lru_cache(maxsize=1)
def transfer_syntaxes() -> frozenset[str]:
    """Transfer Syntax UIDs that are stored as they come (PS3.5 10, PS3.6 A)."""
    listed = {uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"}
    return frozenset(listed - _NOT_SELF_CONTAINED)


def adopt(sop_classes: Iterable[str]) -> None:
    """Tell pynetdicom that these SOP classes belong to the Storage Service Class; it knows only the recent ones."""
    for uid in sop_classes:
        if uid_to_service_class(uid) is not StorageServiceClass:
            register_uid(uid, "Storage_" + uid.replace(".", "_"), StorageServiceClass)


def supported(
    requested: Sequence[PresentationContext], sop_classes: frozenset[str]
) -> list[PresentationContext]:
    """The contexts to answer a request with.

    The sender's own order of transfer syntaxes decides within one context: the first is what its object is encoded in,
    or what it would rather convert to.
    """
    known = transfer_syntaxes()
    offered: dict[str, list[str]] = {}
    for context in requested:
        uid = str(context.abstract_syntax)
        if uid in sop_classes or uid == VERIFICATION:
            offered.setdefault(uid, []).extend(str(syntax) for syntax in context.transfer_syntax)
    contexts = []
    for uid, syntaxes in offered.items():
        accepted = [syntax for syntax in dict.fromkeys(syntaxes) if syntax in known]
        if accepted:
            context = PresentationContext()
            context.abstract_syntax = UID(uid)
            context.transfer_syntax = [UID(syntax) for syntax in accepted]
            contexts.append(context)
    return contexts
