"""Who may do what, for every route there is: role × route × tenant, asked of the running application.

The routes come from the application's URL map; what is expected comes from `TABLE`, written by hand. A route without a
row fails, a row without a route fails, and for each route every account asks for what belongs to site and centre A.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.routing import AnyConverter, Rule
from werkzeug.test import TestResponse

from storage.records import Disposition, Identity, InstanceFacts, Origin, OriginalUIDs, Outcome
from storage.schema import Annotation, Consultation, Opinion, OutboxItem, Site, Study, User, now
from tests.images import ct_series, part10
from tests.viewer.dicomweb_house import CHEAP, PASSWORD, ROLES_BY_LOGIN, House
from viewer.auth import declaration

REAL_NAME, REAL_ID, REAL_BIRTH = "Сидорова^Мария", "КИ-7781", "19611105"
PSEUDONYM = "Pseudonym^Canary"

EVERYONE = frozenset({"referrer", "consultant", "coordinator", "administrator", "auditor"})
READERS = frozenset({"referrer", "consultant", "coordinator"})
CENTRE = frozenset({"consultant", "coordinator"})
REFERRER = frozenset({"referrer"})
CONSULTANT = frozenset({"consultant"})
COORDINATOR = frozenset({"coordinator"})
ADMINISTRATOR = frozenset({"administrator"})
AUDITOR = frozenset({"auditor"})

OURS, THEIRS, NOBODYS = "A", "B", ""


@dataclass(frozen=True)
class Row:
    """What is expected of one route.

    Parameters
    ----------
    roles
        Roles that may call it; None: everybody, signed in or not.
    owned
        Whether it names something of a tenant: accounts of the other site or centre are told it does not exist.
    state
        State of the consultation it is tried on.
    local
        Whether a caller on this machine need not sign in.
    json, form
        Body of the request.
    """

    roles: frozenset[str] | None
    owned: bool = False
    state: str = "accepted"
    local: bool = False
    json: Callable[[World], Any] | None = None
    form: dict[str, str] = field(default_factory=dict)


def owned(roles: frozenset[str], state: str = "accepted", **more: Any) -> Row:
    return Row(roles, True, state, **more)


def text(_: World) -> dict[str, str]:
    return {"text": "because"}


def nothing(_: World) -> dict[str, str]:
    return {}


WORDS = {"text": "because"}
DRAFT = {"revision": 0, "findings": "f", "conclusion": "c", "recommendations": "r"}
MARK = {"tool": "probe", "frame": 1, "points_image": [[1.0, 1.0]], "revision": None}

# (endpoint, method, value of the rule's choice or "") → what is expected.
TABLE: dict[tuple[str, str, str], Row] = {
    # --- DICOMweb ---
    ("dicomweb.search_studies", "GET", ""): Row(READERS),
    ("dicomweb.search_series", "GET", ""): Row(READERS),
    ("dicomweb.search_instances", "GET", ""): Row(READERS),
    ("dicomweb.search_study_series", "GET", ""): owned(READERS),
    ("dicomweb.search_study_instances", "GET", ""): owned(READERS),
    ("dicomweb.search_series_instances", "GET", ""): owned(READERS),
    ("dicomweb.retrieve_study", "GET", ""): owned(READERS),
    ("dicomweb.retrieve_series", "GET", ""): owned(READERS),
    ("dicomweb.retrieve_instance", "GET", ""): owned(READERS),
    ("dicomweb.study_metadata", "GET", ""): owned(READERS),
    ("dicomweb.series_metadata", "GET", ""): owned(READERS),
    ("dicomweb.instance_metadata", "GET", ""): owned(READERS),
    ("dicomweb.retrieve_frames", "GET", ""): owned(READERS),
    ("dicomweb.retrieve_bulkdata", "GET", ""): owned(READERS),
    ("dicomweb.study_rendered", "GET", ""): owned(READERS),
    ("dicomweb.series_rendered", "GET", ""): owned(READERS),
    ("dicomweb.instance_rendered", "GET", ""): owned(READERS),
    ("dicomweb.frames_rendered", "GET", ""): owned(READERS),
    ("dicomweb.study_thumbnail", "GET", ""): owned(READERS),
    ("dicomweb.series_thumbnail", "GET", ""): owned(READERS),
    ("dicomweb.instance_thumbnail", "GET", ""): owned(READERS),
    ("dicomweb.frames_thumbnail", "GET", ""): owned(READERS),
    ("dicomweb.store", "POST", ""): Row(REFERRER),
    # The path names a study by the UID its sender gives it, which nobody else's account can relate to what is kept.
    ("dicomweb.store_study", "POST", ""): Row(REFERRER),
    # --- API ---
    ("api.openapi", "GET", ""): Row(None),
    ("api.v1.me", "GET", ""): Row(EVERYONE),
    ("api.v1.list_consultations", "GET", ""): Row(READERS),
    ("api.v1.get_consultation", "GET", ""): owned(READERS),
    ("api.v1.request_consultation", "POST", ""): owned(
        REFERRER,
        json=lambda w: {
            "study_uid": w.facts.study_instance_uid,
            "specialty": "radiology",
            "urgency": "planned",
            "centre": "A",
        },
    ),
    ("api.v1.accept_consultation", "POST", ""): owned(CONSULTANT, "requested", json=nothing),
    ("api.v1.acknowledge_consultation", "POST", ""): owned(REFERRER, "delivered", json=nothing),
    ("api.v1.answer_consultation", "POST", ""): owned(REFERRER, "returned", json=text),
    ("api.v1.ask_consultation", "POST", ""): owned(CENTRE, json=text),
    ("api.v1.assign_consultation", "POST", ""): owned(
        COORDINATOR, json=lambda _: {"assignee": "consultant-a"}
    ),
    ("api.v1.cancel_consultation", "POST", ""): owned(REFERRER | COORDINATOR, json=text),
    ("api.v1.decline_consultation", "POST", ""): owned(CENTRE, json=text),
    ("api.v1.get_opinion", "GET", ""): owned(READERS, "delivered"),
    ("api.v1.put_opinion", "PUT", ""): owned(CONSULTANT, json=lambda _: DRAFT),
    ("api.v1.sign_opinion", "POST", ""): owned(
        CONSULTANT, json=lambda _: {"revision": 1, "password": PASSWORD}
    ),
    ("api.v1.list_annotations", "GET", ""): owned(READERS, "delivered"),
    ("api.v1.put_annotation", "PUT", ""): owned(
        CONSULTANT,
        json=lambda w: {
            **MARK,
            "series_instance_uid": w.facts.series_instance_uid,
            "sop_instance_uid": w.facts.sop_instance_uid,
        },
    ),
    ("api.v1.delete_annotation", "DELETE", ""): owned(CONSULTANT),
    # --- pages of the centre ---
    ("worklist.worklist", "GET", ""): Row(CENTRE),
    ("consultation.show", "GET", ""): owned(CENTRE),
    ("viewer.consultation", "GET", ""): owned(CENTRE),
    # One view for all of a centre's changes; which of them a role may make is decided in `storage.consultations`.
    ("consultation.act", "POST", "accept"): owned(CONSULTANT, "requested"),
    ("consultation.act", "POST", "decline"): owned(CENTRE, form=WORDS),
    ("consultation.act", "POST", "ask"): owned(CENTRE, form=WORDS),
    ("consultation.act", "POST", "cancel"): owned(COORDINATOR, form=WORDS),
    ("consultation.act", "POST", "assign"): owned(COORDINATOR, form={"assignee": "consultant-a"}),
    # --- pages of the referring doctor ---
    ("referrer.studies", "GET", ""): Row(REFERRER),
    ("referrer.search", "POST", ""): Row(REFERRER, form={"q": "Сидорова"}),
    ("referrer.search_again", "GET", ""): Row(REFERRER),
    ("referrer.study", "GET", ""): owned(REFERRER),
    ("referrer.viewer", "GET", ""): owned(REFERRER),
    ("referrer.request", "GET", ""): owned(REFERRER),
    ("referrer.send", "POST", ""): owned(
        REFERRER,
        form={"specialty": "radiology", "urgency": "planned", "centre": "A", "question": "Operable?"},
    ),
    ("referrer.consultation", "GET", ""): owned(REFERRER),
    ("referrer.report", "GET", ""): owned(REFERRER, "delivered"),
    ("referrer.act", "POST", "answer"): owned(REFERRER, "returned", form=WORDS),
    ("referrer.act", "POST", "acknowledge"): owned(REFERRER, "delivered"),
    ("referrer.act", "POST", "cancel"): owned(REFERRER, form=WORDS),
    # --- one's own account ---
    ("account.account", "GET", ""): Row(EVERYONE),
    ("account.password", "GET", ""): Row(EVERYONE),
    ("account.change_password", "POST", ""): Row(EVERYONE),
    ("account.create_token", "POST", ""): Row(EVERYONE),
    ("account.end_sessions", "POST", ""): Row(EVERYONE),
    ("account.revoke_token", "POST", ""): Row(EVERYONE),
    # --- administration ---
    **{
        (f"admin.{name}", "GET", ""): Row(ADMINISTRATOR)
        for name in ("dashboard", "sites", "centres", "routes", "users", "tokens", "delivery")
    },
    **{
        (f"admin.{name}", "POST", ""): Row(ADMINISTRATOR)
        for name in ("add_site", "add_centre", "add_route", "add_user", "remove_route", "reset_user")
    },
    ("admin.revoke_token", "POST", ""): Row(ADMINISTRATOR),
    ("admin.retry", "POST", ""): Row(ADMINISTRATOR),
    ("admin.switch_site", "POST", "activate"): Row(ADMINISTRATOR),
    ("admin.switch_site", "POST", "deactivate"): Row(ADMINISTRATOR),
    ("admin.switch_user", "POST", "activate"): Row(ADMINISTRATOR),
    ("admin.switch_user", "POST", "deactivate"): Row(ADMINISTRATOR),
    # --- held objects: the person responsible for de-identification sees what nobody else may ---
    **{(f"review.{name}", "GET", ""): Row(ADMINISTRATOR) for name in ("items", "item", "frame", "found")},
    **{
        (f"review.{name}", "POST", ""): Row(ADMINISTRATOR, form={"boxes": "[]"})
        for name in ("release", "retry", "discard")
    },
    # --- audit ---
    ("audit.trail", "GET", ""): Row(AUDITOR),
    ("audit.export", "GET", "csv"): Row(AUDITOR),
    ("audit.export", "GET", "json"): Row(AUDITOR),
    ("audit.verify", "POST", ""): Row(AUDITOR),
    # --- everybody ---
    ("session.home", "GET", ""): Row(EVERYONE),
    ("session.login", "GET", ""): Row(None),
    ("session.sign_in", "POST", ""): Row(None),
    ("session.logout", "POST", ""): Row(None),
    ("session.language", "POST", ""): Row(None),
    ("session.theme", "POST", ""): Row(None),
    ("health.healthz", "GET", ""): Row(None),
    ("health.readyz", "GET", ""): Row(None),
    ("health.metrics", "GET", ""): Row(ADMINISTRATOR, local=True),
    ("static", "GET", ""): Row(None),
}

# Views that declare more roles than one of their choices allows: the storage decides, and may answer 404 as well.
DECIDED_BELOW = {"consultation.act"}

ACCOUNTS: tuple[str | None, ...] = (None, *ROLES_BY_LOGIN)


class World:
    """What the requests are about: a study of site A, and fresh things for those that change something."""

    def __init__(self, home: Path) -> None:
        def ingest(source: bytes | Path, origin: Origin) -> Outcome:
            assert origin.site_code in ("A", "B")
            return Outcome(Disposition.STORED, study_instance_uid="2.25.99")

        self.house = House(home, ingest=ingest, vault=True)
        self.facts = self._study()
        self.house.consult(self.facts.study_instance_uid, "A")
        self._numbers = itertools.count(1)
        self.rules = dict(routes(self.house.app))

    def _study(self) -> InstanceFacts:
        (ds,) = ct_series(1)
        facts = self.house.keep(ds, patient_id="P-CANARY", patient_name=PSEUDONYM)
        self.house.keep(ct_series(1)[0], site="B")
        elements = {0x00100010: ("PN", REAL_NAME.encode()), 0x00100020: ("LO", REAL_ID.encode())}
        elements[0x00100030] = ("DA", REAL_BIRTH.encode())
        original = OriginalUIDs("1.2.3", "1.2.3.1", "1.2.3.1.1", facts.sop_class_uid)
        assert self.house.vault is not None
        self.house.vault.remember("A", facts, Identity(("ISO_IR 192",), elements), original)
        return facts

    def number(self) -> int:
        return next(self._numbers)

    def consultation(self, state: str) -> Consultation:
        """A fresh consultation of the study at centre A; from `accepted` on it is consultant-a's."""
        storage = self.house.storage
        consultant = storage.people.user("consultant-a")
        with storage.database.write() as session:
            study = session.scalars(
                select(Study).where(Study.study_instance_uid == self.facts.study_instance_uid)
            ).one()
            row = Consultation(
                public_id=f"{self.number():08}-canary",
                study_id=study.id,
                site_id=study.site_id,
                centre_id=self.house.centres["A"],
                specialty="radiology",
                urgency="planned",
                state=state,
                question="Is this it?",
                requested_by=storage.people.user("doctor-a").id,
                assigned_to=None if state == "requested" else consultant.id,
                due_at=now() + timedelta(days=1),
            )
            session.add(row)
            session.flush()
            if state != "requested":
                signed = state in ("signed", "delivered", "acknowledged")
                opinion = Opinion(
                    consultation_id=row.id,
                    author_id=consultant.id,
                    conclusion="benign",
                    revision=1,
                    signed_at=now() if signed else None,
                    content={} if signed else None,
                )
                session.add(opinion)
                session.flush()
                session.add(OutboxItem(opinion_id=opinion.id, channel="dicom", target="X@127.0.0.1:1"))
        return row

    def annotation(self, consultation: Consultation) -> str:
        uid = f"annotation-{self.number()}"
        with self.house.storage.database.write() as session:
            session.add(
                Annotation(
                    uid=uid,
                    consultation_id=consultation.id,
                    author_id=self.house.storage.people.user("consultant-a").id,
                    series_instance_uid=self.facts.series_instance_uid,
                    sop_instance_uid=self.facts.sop_instance_uid,
                    tool="probe",
                    data={},
                )
            )
        return uid

    def outbox_item(self) -> int:
        self.consultation("signed")
        with self.house.storage.database.read() as session:
            return session.scalars(select(OutboxItem.id).order_by(OutboxItem.id.desc()).limit(1)).one()

    def held(self) -> int:
        """A fresh object in quarantine, whose bytes name the patient."""
        assert self.house.gateway is not None
        held = ct_series(1)[0]
        held.SpecificCharacterSet, held.PatientName, held.PatientID = "ISO_IR 192", REAL_NAME, REAL_ID
        origin = Origin(self.house.sites["A"], "A", "A_PACS")
        return self.house.gateway.quarantine.hold(part10(held), reason="burned-in-annotation", origin=origin)

    def victim(self) -> str:
        """An account nobody needs."""
        login = f"victim-{self.number()}"
        with self.house.storage.database.write() as session:
            site = self.house.sites["B"]
            session.add(User(login=login, role="referrer", password_hash=CHEAP.hash(PASSWORD), site_id=site))
        return login

    def site(self) -> str:
        code = f"S{self.number()}"
        with self.house.storage.database.write() as session:
            session.add(Site(code=code, name="A site nobody needs"))
        return code

    def route(self) -> str:
        title = f"ROUTE{self.number()}"
        self.house.storage.people.add_route(title, specialty="radiology")
        return title

    def token_of(self, login: str) -> int:
        self.house.storage.people.create_token(login)
        return self.house.storage.people.tokens(login)[0].id

    # --- asking ---

    def arguments(self, rule: Rule, row: Row, choice: str, login: str | None) -> dict[str, Any]:
        """Values for the variable parts of a rule."""
        facts = self.facts
        made: dict[str, Any] = {}
        for name in rule.arguments:
            if isinstance(rule._converters[name], AnyConverter):
                made[name] = choice
            elif name == "public_id":
                consultation = self.consultation(row.state)
                made[name] = consultation.public_id
                if "uid" in rule.arguments:
                    fresh = rule.endpoint.endswith("put_annotation")
                    made["uid"] = f"new-{self.number()}" if fresh else self.annotation(consultation)
            elif name in ("study", "study_uid"):
                made[name] = facts.study_instance_uid
            elif name == "token_id":
                made.setdefault("login", self.victim())
                own = rule.endpoint.startswith("account.") and login is not None
                made[name] = self.token_of(login if own and login else made["login"])
            elif name == "login":
                made.setdefault(name, self.victim())
            elif name != "uid":
                made[name] = {
                    "series": lambda: facts.series_instance_uid,
                    "instance": lambda: facts.sop_instance_uid,
                    "frames": lambda: "1",
                    "path": lambda: "7FE00010",
                    "code": self.site,
                    "called_ae": self.route,
                    "item_id": self.outbox_item,
                    "number": self.held,
                    "frame": lambda: 1,
                    "filename": lambda: "app.js",
                }[name]()
        return {name: value for name, value in made.items() if name in rule.arguments}

    def ask(self, rule: Rule, method: str, row: Row, choice: str, login: str | None) -> TestResponse:
        """Make the request the row describes as one account."""
        app = self.house.app
        with app.test_request_context():
            _, path = rule.build(self.arguments(rule, row, choice, login), append_unknown=False) or ("", "")
        headers = {}
        if login is not None:
            own = rule.endpoint.startswith("account.")  # it may cost the token it is asked with
            token = self.house.storage.people.create_token(login) if own else self.house.tokens[login]
            headers["Authorization"] = f"Bearer {token}"
        options: dict[str, Any] = {"data": row.form}
        if row.json is not None:
            options = {"json": row.json(self)}
        elif rule.endpoint.startswith("dicomweb.store"):
            headers["Content-Type"] = "application/dicom"
            options = {"data": part10(ct_series(1)[0])}
        elif method == "GET":
            options = {}
        return app.test_client().open(path, method=method, headers=headers, buffered=True, **options)


def routes(app: Flask) -> Iterator[tuple[tuple[str, str, str], Rule]]:
    """Every route of the application, once for each method and each of its choices."""
    for rule in app.url_map.iter_rules():
        choices = [c.items for c in rule._converters.values() if isinstance(c, AnyConverter)] or [{""}]
        assert len(choices) == 1, f"{rule.rule} has more choices than one; the table needs another column"
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            for choice in sorted(choices[0]):
                yield (rule.endpoint, method, choice), rule


def expected(row: Row, login: str | None) -> str:
    if row.roles is None:
        return "allowed"
    if login is None:
        return "allowed" if row.local else "sign in"
    role, tenant = ROLES_BY_LOGIN[login]
    if role not in row.roles:
        return "forbidden"
    return "allowed" if not row.owned or tenant == "A" else "not there"


def answered(row: Row, response: TestResponse) -> str:
    location = response.headers.get("Location", "")
    led_away = response.status_code == 302 and location.startswith("/login") and row.roles is not None
    if response.status_code == 401 or led_away:
        return "sign in"
    names = {403: "forbidden", 404: "not there"}
    return names.get(response.status_code, "allowed" if response.status_code < 500 else "broken")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("matrix") / "home")
    yield world
    world.house.close()


def test_the_table_has_a_row_for_every_route_and_no_other(world: World) -> None:
    assert set(world.rules) == set(TABLE)


def test_what_views_declare_is_what_the_table_says(world: World) -> None:
    for endpoint in {key[0] for key in TABLE}:
        said = declaration(world.house.app, endpoint)
        rows = [row for key, row in TABLE.items() if key[0] == endpoint]
        assert said is not None, endpoint
        if rows[0].roles is None or rows[0].local:
            assert said.public, endpoint
        else:
            union = frozenset().union(*(row.roles or frozenset() for row in rows))
            assert not said.public and said.roles == union, endpoint


@pytest.mark.parametrize("account", ACCOUNTS, ids=str)
@pytest.mark.parametrize("key", TABLE, ids=lambda key: " ".join(filter(None, key)))
def test_every_account_on_every_route(world: World, key: tuple[str, str, str], account: str | None) -> None:
    row = TABLE[key]
    rule = world.rules[key]
    response = world.ask(rule, key[1], row, key[2], account)
    wanted, got = expected(row, account), answered(row, response)
    if wanted == "forbidden" and key[0] in DECIDED_BELOW and got == "not there":
        got = wanted  # not this role's change
    assert got == wanted, f"{response.status_code}: {response.data[:300]!r}"
    check_nothing_leaks(world, key, account, response)


def check_nothing_leaks(
    world: World, key: tuple[str, str, str], account: str | None, response: TestResponse
) -> None:
    """No answer shows real names outside of the own site's pages, or pseudonyms to who may not see the study.

    What the caller wrote may come back: a page of errors offers the same address in the other language.
    """
    written = f"{response.request.path} {TABLE[key].form}"

    def shows(secret: str) -> bool:
        forms = (secret, json.dumps(secret)[1:-1], quote(secret))
        return secret not in written and any(form.encode() in response.data for form in forms)

    role, tenant = ROLES_BY_LOGIN.get(account or "", ("", ""))
    if not (role == "referrer" and tenant == "A" and key[0].startswith("referrer.")):
        for secret in (REAL_NAME.split("^")[0], REAL_ID, REAL_BIRTH, "05.11.1961", "1961-11-05"):
            assert not shows(secret)
    if tenant != "A":
        assert not shows(PSEUDONYM.split("^")[1])
        assert not shows("P-CANARY")
        if role != "auditor":  # the trail names studies and consultations by their pseudonymised UIDs
            assert not shows(world.facts.study_instance_uid)
            assert not shows("-canary")


def test_whoever_lost_the_consultation_lost_the_images(world: World) -> None:
    """A centre sees images only as long as it is asked; other centres' work does not open them."""
    facts = world.house.keep(ct_series(1)[0])
    path = f"/dicom-web/studies/{facts.study_instance_uid}/metadata"
    world.house.consult(facts.study_instance_uid, "B", state="declined")
    world.house.consult(facts.study_instance_uid, "A", state="cancelled")
    for login in ("consultant-a", "consultant-b", "coordinator-a", "coordinator-b", "doctor-b"):
        assert world.house.client(login).get(path).status_code == 404, login
    world.house.consult(facts.study_instance_uid, "B")
    assert world.house.client("consultant-b").get(path).status_code == 200
    assert world.house.client("consultant-a").get(path).status_code == 404
    assert world.house.client("doctor-a").get(path).status_code == 200


def test_a_closed_account_is_nobody(tmp_path: Path) -> None:
    house = House(tmp_path / "home")
    for login in ROLES_BY_LOGIN:
        client = house.client(login)
        assert client.get("/api/v1/me").status_code == 200
        house.storage.people.set_active(login, False)
        assert client.get("/api/v1/me").status_code == 401
    house.close()


@pytest.mark.parametrize(("login", "status"), [(None, 403), ("doctor-a", 403), ("administrator", 200)])
def test_the_numbers_are_not_for_everybody_on_the_network(
    world: World, login: str | None, status: int
) -> None:
    client = world.house.client(login)
    assert client.get("/metrics", environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == status


def test_the_body_of_a_request_opens_nothing_either(world: World) -> None:
    """A study of another site, named in a body."""
    body = {"study_uid": world.facts.study_instance_uid, "specialty": "radiology", "urgency": "planned"}
    answer = world.house.client("doctor-b").post("/api/v1/consultations", json=body)
    assert answer.status_code == 404
    unknown = world.house.client("doctor-b").post(
        "/api/v1/consultations", json={**body, "study_uid": "1.2.3"}
    )
    assert answer.data == unknown.data, "the answer tells an existing study from one that is not there"
