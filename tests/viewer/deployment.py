"""A deployment behind its web application: real ingest and vault, two hospitals, two centres, everyone's password."""

from __future__ import annotations

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
from argon2 import PasswordHasher
from flask.testing import FlaskClient
from jinja2.bccache import Bucket, BytecodeCache
from sqlalchemy import event
from werkzeug.test import TestResponse

from config.settings import load
from gateway.opening import open_gateway
from gateway.review.reviewer import make_reviewer
from storage.people import People
from storage.records import Origin
from storage.setup import initialise
from tests.images import sample
from tests.peers.gateway import environment
from viewer.app import create_app

PASSWORD = "correct horse battery"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Argon2 as it must not be used outside tests, where its price is measured in minutes."""
PATIENTS = {
    "NORTH": ("Кузнецова^Анна^Сергеевна", "48000/26", "19580312"),
    "SOUTH": ("Smith^John", "S-1", "19640117"),
}
PEOPLE = {
    "north-doctor": ("referrer", {"site_code": "NORTH"}, "Magomedova Patimat"),
    "south-doctor": ("referrer", {"site_code": "SOUTH"}, "Peter South"),
    "orlova": ("consultant", {"centre_code": "ONCO"}, "Орлова Екатерина Андреевна"),
    "volkov": ("consultant", {"centre_code": "ONCO"}, "Волков Артём Игоревич"),
    "cardio": ("consultant", {"centre_code": "CARDIO"}, "Cara Heart"),
    "coordinator": ("coordinator", {"centre_code": "ONCO"}, "Мельникова Татьяна"),
    "chief": ("administrator", {}, "Chief Admin"),
    "auditor": ("auditor", {}, "Nina Audit"),
}


def make_template(home: Path) -> None:
    """What every test starts from, made once: a home with people and one study of each hospital."""
    settings = load(environ=environment(home))
    initialise(settings)
    gateway = open_gateway(settings)
    people = People(gateway.storage.database, CHEAP)
    for code in ("NORTH", "SOUTH"):
        site = people.add_site(code, f"{code.title()} hospital", ae_titles=[f"{code}_PACS"], region="Region")
        name, patient_id, born = PATIENTS[code]
        ds = sample("CT_small.dcm")
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = name, patient_id, born
        ds.StudyInstanceUID = f"1.2.826.0.1.{len(code)}.{ord(code[0])}"
        ds.SeriesInstanceUID, ds.SOPInstanceUID = f"{ds.StudyInstanceUID}.1", f"{ds.StudyInstanceUID}.1.1"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.AccessionNumber = f"ACC-{code}"
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
        gateway.ingest.store(buffer.getvalue(), Origin(site.id, code, calling_ae=f"{code}_PACS"))
    for code in ("ONCO", "CARDIO"):
        people.add_centre(
            code, f"Centre {code.title()}", specialties=[{"ONCO": "oncology", "CARDIO": "cardiology"}[code]]
        )
    for login, (role, tenant, name) in PEOPLE.items():
        people.add_user(login, role, PASSWORD, full_name=name, **tenant)
    gateway.close()


class Deployment:
    """One test's own copy.

    Parameters
    ----------
    template
        A home made by `make_template`.
    home
        Where the copy goes.
    settings
        Settings that differ from those of a quick deployment.
    """

    def __init__(self, template: Path, home: Path, **settings: object) -> None:
        shutil.copytree(template, home)
        self.settings = load(environ=environment(home, **settings))
        self.gateway = open_gateway(self.settings)
        people = People(self.gateway.storage.database, CHEAP)
        self.storage = replace(self.gateway.storage, people=people)
        for database in (self.storage.database, self.gateway.vault_database):
            # Durability has its own tests; here it would only cost time.
            event.listen(database.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous=OFF"))
        self.reviewer = make_reviewer(self.settings, self.gateway)
        self.app = create_app(
            self.settings,
            self.storage,
            ingest=self.gateway.ingest.store,
            identities=self.gateway.vault,
            report_pdf=self.gateway.reports.pdf,
            clean_text=self.gateway.clean_text,
            reviewer=self.reviewer,
            testing=True,
        )
        self.app.jinja_env.bytecode_cache = COMPILED

    def close(self) -> None:
        self.reviewer.close()
        self.gateway.close()

    def study(self, site: str = "NORTH") -> str:
        """The pseudonymised Study Instance UID of a hospital's study."""
        (uid,) = self.gateway.vault.find(site, PATIENTS[site][1])
        return uid

    def ask(self, site: str = "NORTH", **more: Any) -> str:
        """A requested consultation; its public id."""
        user = self.storage.people.user(f"{site.lower()}-doctor")
        arguments: dict[str, Any] = {
            "specialty": "oncology",
            "urgency": "urgent",
            "question": "Operable?",
            "user": user,
        }
        return self.storage.consultations.request(self.study(site), **{**arguments, **more}).public_id

    def browser(self, login: str = "", **headers: str) -> Browser:
        """A browser, signed in if a login is given."""
        browser = Browser(self.app.test_client(), headers)
        if login:
            answer = browser.sign_in(login)
            assert answer.status_code == 302, answer.text
        return browser

    def token(self, login: str) -> dict[str, str]:
        """The header of a program that acts for a user."""
        return {"Authorization": f"Bearer {self.storage.people.create_token(login)}"}

    def audited(self, action: str) -> list[Any]:
        return list(self.storage.audit.search(action=action)[0])


class _Compiled(BytecodeCache):
    """Templates compiled once for all tests, not once for each application."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


COMPILED = _Compiled()


class Browser:
    """A client that, like a browser with a page open, knows that page's CSRF token."""

    def __init__(self, client: FlaskClient, headers: dict[str, str]) -> None:
        self.client = client
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.csrf = ""

    def get(self, path: str, **options: Any) -> TestResponse:
        headers = {**self.headers, **options.pop("headers", {})}
        answer = self.client.get(path, headers=headers, buffered=True, **options)
        found = (
            re.search(r'name="csrf-token" content="([^"]+)"', answer.text)
            if answer.mimetype == "text/html"
            else None
        )
        self.csrf = found[1] if found else self.csrf
        return answer

    def post(self, path: str, **form: Any) -> TestResponse:
        """Submit a form."""
        return self.client.post(path, data={"csrf_token": self.csrf, **form}, headers=self.headers)

    def call(self, method: str, path: str, body: Any = None) -> TestResponse:
        """What a script on the page does: JSON with the token in a header."""
        headers = {**self.headers, "X-CSRFToken": self.csrf}
        return self.client.open(path, method=method, json=body, headers=headers)

    def sign_in(self, login: str, password: str = PASSWORD, **more: str) -> TestResponse:
        self.get("/login")
        answer = self.post("/login", login=login, password=password, **more)
        if answer.status_code == 302:
            self.get("/account")
        return answer
