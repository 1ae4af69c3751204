"""The demonstration's network: two hospitals, a centre, their people, and what happens on its first day."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

from config.errors import Conflict
from config.settings import Settings
from gateway.demo.hospital import HospitalPACS
from gateway.demo.studies import STUDIES, DemoStudy, Request, instances
from gateway.opening import Gateway
from storage.passwords import one_time_password
from storage.schema import User


@dataclass(frozen=True, slots=True)
class Person:
    login: str
    role: str
    name: str
    language: str
    site: str | None = None
    centre: str | None = None


@dataclass(frozen=True, slots=True)
class Hospital:
    code: str
    name: str
    region: str
    ae_title: str


CENTRE = ("NATIONAL", "Национальный центр консультаций")
SPECIALTIES = ("radiology", "neurosurgery", "traumatology", "oncology", "cardiology")
HOSPITALS = (
    Hospital("RAYON-12", "Районная больница № 12", "Север", "RAYON12"),
    Hospital("VALLEY", "Valley General Hospital", "South", "VALLEY"),
)
PEOPLE = (
    Person("consultant", "consultant", "Анна Викторовна Белова", "ru", centre="NATIONAL"),
    Person("coordinator", "coordinator", "Олег Юрьевич Тарасов", "ru", centre="NATIONAL"),
    Person("doctor", "referrer", "Игорь Павлович Орлов", "ru", site="RAYON-12"),
    Person("moreau", "referrer", "Claire Moreau", "en", site="VALLEY"),
    Person("administrator", "administrator", "Administrator", "en"),
    Person("auditor", "auditor", "Auditor", "en"),
)


def hospitals(settings: Settings, first_port: int) -> Mapping[str, HospitalPACS]:
    """The two hospitals' PACS, not started, by site code; they listen on `first_port` and the one after."""
    folder = settings.home / "demo"
    return {
        h.code: HospitalPACS(h.ae_title, port, folder / f"pacs-{h.ae_title.lower()}")
        for port, h in enumerate(HOSPITALS, first_port)
    }


def populate(gateway: Gateway, pacs: Mapping[str, HospitalPACS]) -> dict[str, str]:
    """Make sites, centre, route and people where they are missing; gives login → a fresh password for each person."""
    people = gateway.storage.people
    known = {site.code for site in people.sites()}
    for h in HOSPITALS:
        if h.code not in known:
            people.add_site(
                h.code,
                h.name,
                ae_titles=[h.ae_title],
                region=h.region,
                returns=[("dicom", f"{h.ae_title}@127.0.0.1:{pacs[h.code].port}")],
            )
    if CENTRE[0] not in {centre.code for centre in people.centres()}:
        people.add_centre(*CENTRE, specialties=SPECIALTIES)
    if people.route("RADIOLOGY") is None:
        people.add_route("RADIOLOGY", specialty="radiology", urgency="urgent", centre_code=CENTRE[0])
    logins = {user.login for user in people.users()}
    passwords: dict[str, str] = {}
    for person in PEOPLE:
        passwords[person.login] = password = one_time_password()
        if person.login in logins:
            people.set_password(person.login, password)
        else:
            people.add_user(
                person.login,
                person.role,
                password,
                full_name=person.name,
                site_code=person.site,
                centre_code=person.centre,
                language=person.language,
            )
    return passwords


def first_day(gateway: Gateway, pacs: Mapping[str, HospitalPACS], today: date) -> int:
    """Send every demo study over C-STORE and ask for the consultations; gives the number of instances sent."""
    sent = 0
    for study in STUDIES:
        datasets = list(instances(study, today))
        sent += pacs[study.site].send(datasets, study.called_ae, gateway.storage.settings.dicom_port)
        if study.request is not None:
            _ask(gateway, study, study.request)
    return sent


def _ask(gateway: Gateway, study: DemoStudy, request: Request) -> None:
    newest = gateway.vault.find_by_accession(study.site, study.patient.accession)[0]
    # A demo started before has asked already, and that consultation is still open.
    with suppress(Conflict):
        gateway.storage.consultations.request(
            newest,
            specialty=request.specialty,
            urgency=request.urgency,
            question=request.question,
            user=_referrer(gateway, study.site),
        )


def _referrer(gateway: Gateway, site: str) -> User:
    login = next(p.login for p in PEOPLE if p.role == "referrer" and p.site == site)
    return gateway.storage.people.user(login)
