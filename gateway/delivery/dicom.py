"""C-STORE to the hospital's own Storage SCP (PS3.4 B, PS3.7 9.1.1).

====================================  ==================================================================
0000, Bxxx, other warnings            accepted
A7xx, 0110, 0210-0213                 the peer is out of resources or broken: `Unreachable`
A9xx, Cxxx, any other failure         the peer does not want it: `Rejected`
association rejected or aborted       `Unreachable`
presentation context not accepted     `Rejected`; a Comprehensive 3D SR is sent as a Comprehensive SR instead
====================================  ==================================================================

What was accepted is kept after each object, so a retry sends only the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import structlog
from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.status import code_to_category

from gateway.deidentify.engine import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.delivery.registry import Delivery, Rejected, Unreachable, channel
from gateway.reports.build import Part
from storage.targets import parse_dicom

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT = 10.0
"""Seconds for the TCP connection."""

ANSWER_TIMEOUT = 60.0
"""Seconds for the answer to an association request, a C-STORE or silence on the line."""

_TRANSIENT = frozenset({0x0110, 0x0210, 0x0211, 0x0212, 0x0213})


@channel("dicom")
def send(delivery: Delivery) -> Mapping[str, Any]:
    """Store every part that the peer has not accepted yet."""
    progress = dict(delivery.progress)
    missing = [part for part in delivery.parts() if part.name not in progress]
    if not missing:
        return progress
    association = _associate(delivery, missing)
    refused: list[str] = []
    try:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        for part in missing:
            chosen = _acceptable(part, accepted)
            if chosen is None:
                refused.append(f"{UID(part.sop_class_uid).name}: no presentation context accepted")
                continue
            status = _store(association, chosen)
            if status is None:
                raise Unreachable("the peer ended the association before it answered a C-STORE")
            if code_to_category(status) in ("Success", "Warning"):
                progress[part.name] = f"{status:04X}"
                delivery.keep(progress)
            elif status in _TRANSIENT or status >> 8 == 0xA7:
                raise Unreachable(f"{UID(chosen.sop_class_uid).name}: C-STORE status {status:04X}")
            else:
                refused.append(f"{UID(chosen.sop_class_uid).name}: C-STORE status {status:04X}")
    finally:
        if association.is_established:
            association.release()
    if refused:
        raise Rejected("; ".join(refused) + "; look into the log of the hospital's system")
    return progress


def _associate(delivery: Delivery, parts: list[Part]) -> Association:
    target = parse_dicom(delivery.target)
    ae = AE(ae_title=delivery.calling_ae_title)
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = CONNECT_TIMEOUT
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ANSWER_TIMEOUT
    for part in parts:
        for one in (part, part.fallback):
            if one is not None:
                ae.add_requested_context(one.sop_class_uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    association = ae.associate(target.host, target.port, ae_title=target.ae_title)
    if association.is_established:
        return association
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = getattr(answer, "reason_str", "") if answer is not None else ""
        raise Unreachable(f"the peer rejected the association: {reason or 'no reason given'}")
    raise Unreachable("no association: the peer is not reachable, or aborted")


def _acceptable(part: Part, accepted: set[UID | None]) -> Part | None:
    for one in (part, part.fallback):
        if one is not None and one.sop_class_uid in accepted:
            return one
    return None


def _store(association: Association, part: Part) -> int | None:
    """Status of one C-STORE, None where no answer came."""
    if not association.is_established:
        return None
    # Read back from the file's bytes, so that the hospital's own values go out untouched.
    ds = dcmread(BytesIO(part.data))
    answer = association.send_c_store(ds)
    status = answer.get("Status") if answer else None
    return None if status is None else int(status)
