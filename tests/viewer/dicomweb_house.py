"""An archive with a web server in front of it, for the tests of DICOMweb: two sites, two centres, everyone's token.

Instances are put into spool and index as the gateway does, without de-identification: what is tested here begins after
it.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pydicom
from argon2 import PasswordHasher
from sqlalchemy import event, select
from werkzeug.serving import make_server
from werkzeug.test import Client

from config.settings import Settings, load
from gateway.opening import open_gateway
from gateway.review.reviewer import make_reviewer
from storage.database import Database
from storage.keys import Keys
from storage.opening import open_storage
from storage.records import InstanceFacts
from storage.schema import Centre, CentreSpecialty, Consultation, Series, Site, Study, User, now
from storage.sealing import Sealer
from storage.vault import Vault
from tests.peers.gateway import environment
from viewer.app import create_app
from viewer.services import Ingest

PASSWORD = "correct horse battery"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Argon2 as it must not be used outside tests."""

ROLES_BY_LOGIN = {
    "doctor-a": ("referrer", "A"),
    "doctor-b": ("referrer", "B"),
    "consultant-a": ("consultant", "A"),
    "consultant-b": ("consultant", "B"),
    "coordinator-a": ("coordinator", "A"),
    "coordinator-b": ("coordinator", "B"),
    "administrator": ("administrator", ""),
    "auditor": ("auditor", ""),
}


class House:
    """
    Parameters
    ----------
    home
        An empty directory.
    ingest
        What STOW-RS hands instances to.
    vault
        Whether to hand the referring doctors' pages a vault and a maker of reports, and the review page the quarantine.
    """

    def __init__(
        self, home: Path, *, ingest: Ingest | None = None, vault: bool = False, **settings: object
    ) -> None:
        self.settings: Settings = load(environ=environment(home, **settings))
        self.settings.prepare_home()
        Database(self.settings.database_url).upgrade()
        self.storage = open_storage(self.settings)
        # Durability has its own tests; here it would only cost time.
        event.listen(
            self.storage.database.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous=OFF")
        )
        self.storage.objects.prepare()
        self.sites: dict[str, int] = {}
        self.centres: dict[str, int] = {}
        self._people()
        self.tokens = {login: self.storage.people.create_token(login) for login in ROLES_BY_LOGIN}
        self.vault = self._vault() if vault else None
        self.gateway = open_gateway(self.settings) if vault else None
        self.reviewer = make_reviewer(self.settings, self.gateway) if self.gateway is not None else None
        self.app = create_app(
            self.settings,
            self.storage,
            ingest=ingest,
            identities=self.vault,
            report_pdf=(lambda _: b"%PDF-1.7") if vault else None,
            reviewer=self.reviewer,
            testing=True,
        )

    def _vault(self) -> Vault:
        database = Database(self.settings.vault_url, tree="vault")
        database.upgrade()
        return Vault(database, Keys.create(self.settings.vault_key_file))

    def _people(self) -> None:
        with self.storage.database.write() as session:
            for code in ("A", "B"):
                site = Site(code=code, name=f"Hospital {code}")
                centre = Centre(
                    code=code, name=f"Centre {code}", specialties=[CentreSpecialty(specialty="radiology")]
                )
                session.add_all([site, centre])
                session.flush()
                self.sites[code], self.centres[code] = site.id, centre.id
            hashed = CHEAP.hash(PASSWORD)
            for login, (role, tenant) in ROLES_BY_LOGIN.items():
                session.add(
                    User(
                        login=login,
                        role=role,
                        password_hash=hashed,
                        site_id=self.sites[tenant] if role == "referrer" else None,
                        centre_id=self.centres[tenant] if role in ("consultant", "coordinator") else None,
                    )
                )

    # --- what is kept ---

    def keep(self, source: pydicom.Dataset | bytes, *, site: str = "A", **changes: str) -> InstanceFacts:
        """Make an instance pending; `changes` replace facts of the index."""
        if isinstance(source, bytes):
            data = source
        else:
            buffer = io.BytesIO()
            pydicom.dcmwrite(buffer, source, enforce_file_format=True)
            data = buffer.getvalue()
        facts = _facts(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True), changes)
        with self.storage.spool.writer() as writer:
            writer.write(data)
            name = writer.commit()
        with self.storage.database.write() as session:
            self.storage.index.add(
                session,
                facts,
                site_id=self.sites[site],
                spool_name=name,
                size=len(data),
                source_sha256=sha256(data).hexdigest(),
                profile="clinical",
            )
        return facts

    def seal(self) -> None:
        """Seal everything that is pending."""
        storage = self.storage
        sealer = Sealer(
            storage.database,
            storage.index,
            storage.spool,
            storage.objects,
            tmp_dir=self.settings.tmp_dir,
            node=self.settings.node,
            seal_after=0,
            seal_instances=1,
            transcode=self.settings.transcode,
        )
        with storage.database.read() as session:
            waiting = session.scalars(select(Series.series_instance_uid).where(~Series.sealed)).all()
        for series in waiting:
            sealer.seal_series(series)

    def consult(self, study_uid: str, centre: str, state: str = "requested") -> str:
        """A consultation of a study at a centre, which is then allowed to see it; returns its public id."""
        with self.storage.database.write() as session:
            study = session.scalars(select(Study).where(Study.study_instance_uid == study_uid)).one()
            public_id = f"{study.id:08}-{centre}-{state}"
            session.add(
                Consultation(
                    public_id=public_id,
                    study_id=study.id,
                    site_id=study.site_id,
                    centre_id=self.centres[centre],
                    specialty="radiology",
                    urgency="planned",
                    state=state,
                    due_at=now(),
                )
            )
        return public_id

    def audited(self, action: str) -> list[Any]:
        """Audit lines of an action, oldest first."""
        lines, _ = self.storage.audit.search(action=action, limit=1000)
        return list(reversed(lines))

    # --- who asks ---

    def client(self, login: str | None = "doctor-a") -> Client:
        """A test client; with a login it sends that account's token."""
        client = self.app.test_client()
        if login is not None:
            client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {self.tokens[login]}"
        return client

    @contextmanager
    def serving(self) -> Iterator[str]:
        """A real HTTP server; gives its base URL."""
        server = make_server("127.0.0.1", 0, self.app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def close(self) -> None:
        if self.gateway is not None and self.reviewer is not None:
            self.reviewer.close()
            self.gateway.close()
        self.storage.close()


def _facts(ds: pydicom.Dataset, changes: dict[str, str]) -> InstanceFacts:
    def text(keyword: str) -> str:
        value = ds.get(keyword, "")
        return "" if value is None else str(value)

    meta = getattr(ds, "file_meta", pydicom.Dataset())
    found = {
        "study_instance_uid": text("StudyInstanceUID"),
        "series_instance_uid": text("SeriesInstanceUID"),
        "sop_instance_uid": text("SOPInstanceUID"),
        "sop_class_uid": text("SOPClassUID"),
        "transfer_syntax_uid": str(meta.get("TransferSyntaxUID", "")),
        "patient_id": text("PatientID"),
        "patient_name": text("PatientName"),
        "patient_sex": text("PatientSex"),
        "patient_birth_date": text("PatientBirthDate"),
        "study_date": text("StudyDate"),
        "study_time": text("StudyTime"),
        "study_id": text("StudyID"),
        "accession_number": text("AccessionNumber"),
        "study_description": text("StudyDescription"),
        "modality": text("Modality"),
        "series_number": text("SeriesNumber"),
        "series_description": text("SeriesDescription"),
        "body_part": text("BodyPartExamined"),
        "instance_number": text("InstanceNumber"),
    }
    return InstanceFacts(**{**found, **changes})
