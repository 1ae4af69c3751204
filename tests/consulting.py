"""A small network in a real database: two sites, two centres, everyone who works there, and a study of each site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event

from storage.annotations import Annotations
from storage.audit import Audit
from storage.consultations import Consultations
from storage.database import Database
from storage.outbox import Outbox
from storage.schema import Base, Centre, CentreSpecialty, Series, Site, SiteReturn, Study, User

DEADLINES = {"emergency": 2.0, "urgent": 24.0, "planned": 168.0}


class World:
    """What the tests of consultations and delivery start from."""

    def __init__(self, directory: Path) -> None:
        self.db = Database(f"sqlite:///{directory / 'index.db'}")
        # Durability has its own tests; here it would only cost time.
        event.listen(self.db.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous=OFF"))
        Base.metadata.create_all(self.db.engine)  # migrations have their own tests, and take their time
        self.audit = Audit(self.db)
        self.consultations = Consultations(self.db, self.audit, DEADLINES)
        self.annotations = Annotations(self.db, self.audit)
        self.outbox = Outbox(self.db, base=0.0, maximum=0.0)
        self.users: dict[str, User] = {}
        with self.db.write() as session:
            for code in ("NORTH", "SOUTH"):
                site = Site(code=code, name=f"{code.title()} hospital")
                session.add(site)
                session.flush()
                self._user(session, f"{code.lower()}-doctor", "referrer", site_id=site.id)
                study = Study(
                    study_instance_uid=study_uid(code),
                    site_id=site.id,
                    patient_id=f"P-{code}",
                    patient_name=f"Patient {code}",
                    accession_number=f"ACC-{code}",
                    study_date="20260101",
                    description="Chest CT",
                    modalities="CT",
                )
                session.add(study)
                session.flush()
                session.add(Series(study_id=study.id, series_instance_uid=series_uid(code), modality="CT"))
            for code in ("ONCO", "CARDIO"):
                centre = Centre(code=code, name=f"Centre {code}")
                centre.specialties = [CentreSpecialty(specialty="radiology")]
                if code == "ONCO":
                    centre.specialties.append(CentreSpecialty(specialty="oncology"))
                session.add(centre)
                session.flush()
                for login, role in (
                    ("first", "consultant"),
                    ("second", "consultant"),
                    ("triage", "coordinator"),
                ):
                    self._user(session, f"{code.lower()}-{login}", role, centre_id=centre.id)
            self._user(session, "admin", "administrator")
            self._user(session, "auditor", "auditor")

    def _user(self, session: Any, login: str, role: str, **tenant: int) -> None:
        user = User(login=login, full_name=f"Dr {login}", role=role, password_hash="-", **tenant)
        session.add(user)
        self.users[login] = user

    def user(self, login: str) -> User:
        return self.users[login]

    def send_to(self, site: str, channel: str, target: str) -> None:
        """Let a site's opinions go to a target."""
        with self.db.write() as session:
            found = session.query(Site).filter_by(code=site).one()
            session.add(SiteReturn(site_id=found.id, channel=channel, target=target))

    def ask(self, site: str = "NORTH", **more: Any) -> str:
        """A requested consultation; its public id."""
        arguments: dict[str, Any] = {
            "specialty": "oncology",
            "urgency": "urgent",
            "question": "Is it operable?",
            "user": self.user(f"{site.lower()}-doctor"),
        }
        return self.consultations.request(study_uid(site), **{**arguments, **more}).public_id

    def sign(self, public_id: str, conclusion: str = "No metastases.", findings: str = "A nodule.") -> Any:
        """Accept, draft and sign; the opinion."""
        doctor = self.user("onco-first")
        if self.consultations.get(public_id, doctor).state == "requested":
            self.consultations.accept(public_id, doctor)
        draft = self.consultations.draft(public_id, doctor, 0, findings, conclusion, "Control in 3 months.")
        return self.consultations.sign(public_id, doctor, draft.revision)

    def events(self, action: str = "") -> list[Any]:
        """Audit lines, oldest first."""
        return list(reversed(self.audit.search(action=action, limit=1000)[0]))


def study_uid(site: str) -> str:
    return f"2.25.1{'1' if site == 'NORTH' else '2'}"


def series_uid(site: str) -> str:
    return study_uid(site) + ".1"


def sop_uid(site: str, number: int = 1) -> str:
    return f"{series_uid(site)}.{number}"


def length_mark(uid: str = "mark-1", site: str = "NORTH", **more: Any) -> dict[str, Any]:
    """A length in the stored form."""
    return {
        "uid": uid,
        "tool": "length",
        "label": "Nodule",
        "series_instance_uid": series_uid(site),
        "sop_instance_uid": sop_uid(site),
        "frame": 1,
        "frame_of_reference_uid": study_uid(site) + ".9",
        "points_world": [[-10.0, -20.0, 30.0], [2.3, -20.0, 30.0]],
        "points_image": [[10.5, 20.5], [22.8, 20.5]],
        "measurements": {"length": {"value": 12.3, "unit": "mm"}},
        "backend": "gpu",
        "state": {"handles": {"points": [[1, 2, 3]]}},
        **more,
    }
