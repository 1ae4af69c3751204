"""Re-identification: whose study an opinion is about, or a refusal.

The vault is asked by the opinion's pseudonymised Study Instance UID, and its answer is believed only if three facts
agree, each found in another place than the others:

- **site**: the site of the consultation, the one signed in the content and the vault's are the same;
- **Study Instance UID**: the pseudonym in the signed content is the study row's, and what the deployment key makes of
  the vault's original UID;
- **accession number**: likewise (both empty is agreement).

A mismatch is permanent, audited as an alarm and for a person to look at: somebody's opinion nearly went into somebody
else's folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from config.errors import NotFound, PermanentError
from gateway.reports.content import ReportContent
from storage.audit import Audit
from storage.records import Identity, OriginalUIDs
from storage.schema import Consultation
from storage.vault import StudyIdentity

log = structlog.get_logger(__name__)


class Mismatch(PermanentError):
    """An opinion and the vault do not agree on whose study it is."""


class KnowsIdentities(Protocol):
    """The part of `storage.vault.Vault` that is needed here."""

    def identity_of_study(self, study_uid: str) -> StudyIdentity: ...

    def original_uids(self, study_uid: str) -> Mapping[str, OriginalUIDs]: ...


class MakesPseudonyms(Protocol):
    """What this deployment makes of an original identifier: `gateway.deidentify.pseudonyms.Pseudonyms`."""

    def uid(self, value: bytes) -> bytes: ...

    def identifier(self, purpose: str, site_code: str, value: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Reidentified:
    """Whose study it is: everything a report needs to go back into it.

    Parameters
    ----------
    study_instance_uid, accession_number
        As the hospital wrote them.
    identity
        The hospital's Patient and General Study attributes, byte for byte, and their character set.
    instances
        Pseudonymised SOP Instance UID → original UIDs and SOP class of every instance of the study.
    kept
        Attributes de-identification left as they were, by keyword: found in the index, not in the vault.
    """

    site_code: str
    study_instance_uid: str
    accession_number: str
    identity: Identity
    instances: Mapping[str, OriginalUIDs]
    kept: Mapping[str, str]

    def original(self, sop_instance_uid: str) -> OriginalUIDs:
        """Original UIDs of a marked instance; `Mismatch` if the study has no such instance."""
        try:
            return self.instances[sop_instance_uid]
        except KeyError:
            raise Mismatch(
                f"an annotation marks instance {sop_instance_uid}, which the vault does not have in this study"
            ) from None


class Reidentifier:
    """Finds whose study a signed opinion is about.

    Parameters
    ----------
    vault
        Where identities are.
    pseudonyms
        The deployment's pseudonyms, by family (profiles may keep to themselves); all are tried.
    audit
        Where a mismatch raises its alarm.
    """

    def __init__(self, vault: KnowsIdentities, pseudonyms: Sequence[MakesPseudonyms], audit: Audit) -> None:
        self.vault = vault
        self.pseudonyms = pseudonyms
        self.audit = audit

    def match(self, content: ReportContent, consultation: Consultation) -> Reidentified:
        """The identity of an opinion's study.

        Parameters
        ----------
        content
            The signed content.
        consultation
            Its consultation, with study and site loaded.

        Raises
        ------
        Mismatch
            If site, Study Instance UID and accession number do not all agree; audited.
        """
        try:
            return self._match(content, consultation)
        except Mismatch as error:
            log.error("reidentify.mismatch", consultation=consultation.public_id)
            self.audit.record(
                "reidentify.mismatch",
                actor="system",
                subject=f"consultation:{consultation.public_id}",
                outcome="failure",
                details={"reason": str(error)},
            )
            raise

    def _match(self, content: ReportContent, consultation: Consultation) -> Reidentified:
        study = consultation.study
        uid = content.study["study_instance_uid"]
        if uid != study.study_instance_uid:
            raise Mismatch("the signed opinion names another study than its consultation")
        if content.consultation != consultation.public_id:
            raise Mismatch("the signed opinion names another consultation than the one it belongs to")
        try:
            found = self.vault.identity_of_study(uid)
        except NotFound as error:
            raise Mismatch("the vault does not have the study the opinion is about") from error
        sites = {found.site_code, consultation.site.code, content.site_code}
        if len(sites) != 1 or study.site_id != consultation.site_id:
            raise Mismatch("the opinion's site is not the site the study came from")
        family = next((p for p in self.pseudonyms if _made(p, found.study_instance_uid) == uid), None)
        if family is None:
            raise Mismatch(
                "the vault's Study Instance UID is not the one the opinion's pseudonym was made from"
            )
        accession = (
            family.identifier("accession", found.site_code, found.accession_number)
            if found.accession_number
            else ""
        )
        if not accession == content.study["accession_number"] == study.accession_number:
            raise Mismatch("the opinion's accession number is not the vault's")
        if found.patient_id != study.patient_id or found.patient_id != content.study["patient_id"]:
            raise Mismatch("the opinion's patient pseudonym is not the vault's")
        return Reidentified(
            site_code=found.site_code,
            study_instance_uid=found.study_instance_uid,
            accession_number=found.accession_number,
            identity=found.identity,
            instances=self.vault.original_uids(uid),
            kept={"PatientSex": study.patient_sex, "StudyTime": study.study_time},
        )


def _made(pseudonyms: MakesPseudonyms, original: str) -> str:
    return pseudonyms.uid(original.encode()).decode()
