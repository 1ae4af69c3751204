"""Who a pseudonym is, for referrers of the patient's own site; and what a doctor's words must not carry out of it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from config.errors import NotFound
from storage.records import Identity
from storage.schema import Site, Study
from viewer.auth import caller
from viewer.present import person
from viewer.services import Services


class StudyIdentity(Protocol):
    @property
    def site_code(self) -> str: ...
    @property
    def accession_number(self) -> str: ...
    @property
    def identity(self) -> Identity: ...


class Identities(Protocol):
    """What the pages need of the vault."""

    def identity_of_study(self, study_uid: str) -> StudyIdentity: ...
    def find(self, site_code: str, text: str) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient as the hospital wrote them, ready to be read."""

    name: str
    patient_id: str
    birth_date: str
    sex: str
    accession_number: str
    study_date: str
    known: bool = True


UNKNOWN = Patient("", "", "", "", "", "", known=False)


class Patients:
    """The vault as the caller's site may use it.

    Parameters
    ----------
    web
        The other services.
    identities
        The vault; None where this node has none: patients then show as their pseudonyms.
    """

    def __init__(self, web: Services, identities: Identities | None) -> None:
        self._web = web
        self._identities = identities
        self._codes: dict[int, str] = {}  # of sites, which never change

    def of(self, study: Study) -> Patient:
        """Who it is, for a study the caller may see; that it is their site's is checked against the vault too."""
        if self._identities is None or study.site_id != caller().site_id:
            return UNKNOWN
        try:
            found = self._identities.identity_of_study(study.study_instance_uid)
        except NotFound:
            return UNKNOWN
        if found.site_code != self._site_code():
            return UNKNOWN
        who = found.identity
        return Patient(
            name=person(who.text("PatientName")),
            patient_id=who.text("PatientID"),
            birth_date=who.text("PatientBirthDate"),
            sex=who.text("PatientSex") or study.patient_sex,
            accession_number=found.accession_number,
            study_date=who.text("StudyDate"),
        )

    def find(self, text: str) -> list[str]:
        """Pseudonymised UIDs of the site's studies by name, patient ID or accession number, newest first."""
        return [] if self._identities is None else list(self._identities.find(self._site_code(), text))

    def _site_code(self) -> str:
        site_id = caller().site_id
        if site_id is None:
            raise NotFound("no such site")
        if site_id not in self._codes:
            with self._web.storage.database.read() as session:
                self._codes[site_id] = session.get_one(Site, site_id).code
        return self._codes[site_id]


_TOKEN = re.compile(r"\s+|[^\s]+")


def removed_parts(before: str, after: str) -> list[str]:
    """The stretches of `before` that cleaning took out, for the doctor who wrote them to see; never kept."""
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    parts = (
        "".join(old[i1:i2]).strip()
        for tag, i1, i2, _, _ in matcher.get_opcodes()
        if tag in ("delete", "replace")
    )
    return [part for part in parts if part]
