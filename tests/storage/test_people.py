"""Sites, centres, routes, accounts and tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from config.errors import Conflict, Invalid, NotFound
from storage.audit import Audit
from storage.database import Database
from storage.passwords import Passwords, check_policy, one_time_password
from storage.people import ROLES, People
from storage.schema import Token, User, now
from storage.targets import Endpoint, check_target, parse_dicom, parse_endpoint

PASSWORD = "correct horse battery"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.integration)])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    postgres = request.param == "postgres"
    made = Database(
        request.getfixturevalue("postgres_url") if postgres else f"sqlite:///{tmp_path / 'index.db'}"
    )
    made.upgrade()
    yield made
    made.close()


@pytest.fixture
def people(db: Database) -> People:
    made = People(db, QUICK)
    made.add_site("R1", "ЦРБ  №1 ", ae_titles=["PACS1", " CT1 "], returns=[("dicom", "PACS1@pacs.local:104")])
    made.add_centre("C1", "Centre", specialties=["radiology", "oncology", "radiology"])
    return made


def last_audit(db: Database) -> tuple[str, str, str]:
    event = Audit(db).search(limit=1)[0][0]
    return event.action, event.actor, event.subject


# --- sites, centres, routes ---


def test_a_site_is_found_by_its_calling_ae(people: People) -> None:
    site = people.site("R1")
    assert site.name == "ЦРБ №1"
    assert [a.ae_title for a in site.ae_titles] == ["CT1", "PACS1"]
    assert [(r.channel, r.target) for r in site.returns] == [("dicom", "PACS1@pacs.local:104")]
    for title in ("PACS1", "PACS1           ", " CT1"):
        found = people.site_by_ae(title)
        assert found is not None and found.code == "R1" and found.returns
    assert people.site_by_ae("pacs1") is None, "AE titles are case sensitive"
    assert people.site_by_ae("OTHER") is None


def test_a_closed_site_sends_nothing(people: People, db: Database) -> None:
    people.set_site_active("R1", False, actor="user:chief")
    assert people.site_by_ae("PACS1") is None
    assert last_audit(db) == ("site.deactivate", "user:chief", "site:R1")
    assert [s.code for s in people.sites()] == ["R1"] and not people.sites(active_only=True)
    people.set_site_active("R1", True)
    assert people.site_by_ae("PACS1") is not None
    with pytest.raises(NotFound):
        people.set_site_active("R9", True)


def test_codes_and_ae_titles_are_unique(people: People) -> None:
    with pytest.raises(Conflict, match="R1"):
        people.add_site("R1", "x", ae_titles=["NEW"])
    with pytest.raises(Conflict, match="PACS1 belongs to another"):
        people.add_site("R2", "x", ae_titles=["NEW", "PACS1"])
    assert people.site_by_ae("NEW") is None, "nothing of a refused site stays"
    with pytest.raises(Conflict):
        people.add_centre("C1", "x", specialties=["radiology"])
    people.add_route("X", specialty="radiology")
    with pytest.raises(Conflict):
        people.add_route("X ", specialty="radiology")


@pytest.mark.parametrize(
    ("code", "name", "titles", "returns"),
    [
        ("", "x", ["A"], []),
        ("a b", "x", ["A"], []),
        ("R2", " ", ["A"], []),
        ("R2", "x", [], []),
        ("R2", "x", ["A" * 17], []),
        ("R2", "x", ["A\\B"], []),
        ("R2", "x", ["A"], [("dicom", "pacs:104")]),
        ("R2", "x", ["A"], [("mllp", "ris")]),
        ("R2", "x", ["A"], [("fhir", "fhir.local")]),
        ("R2", "x", ["A"], [("fax", "123")]),
    ],
)
def test_malformed_sites(
    people: People, code: str, name: str, titles: list[str], returns: list[tuple[str, str]]
) -> None:
    with pytest.raises(Invalid):
        people.add_site(code, name, ae_titles=titles, returns=returns)


def test_targets() -> None:
    assert parse_dicom("MY PACS@[::1]:104") == Endpoint("::1", 104, "MY PACS")
    assert parse_dicom("A@B@h:1").ae_title == "A@B"
    assert parse_endpoint("ris.local:2575") == Endpoint("ris.local", 2575)
    assert check_target("fhir", "https://f/r4/") == "https://f/r4"
    for wrong in ("h:0", "h:65536", "h", ":1", "h h:1"):
        with pytest.raises(Invalid):
            parse_endpoint(wrong)


def test_centres(people: People) -> None:
    assert sorted(s.specialty for s in people.centre("C1").specialties) == ["oncology", "radiology"]
    assert [c.code for c in people.centres()] == ["C1"]
    for specialties in ([], ["astrology"]):
        with pytest.raises(Invalid):
            people.add_centre("C2", "x", specialties=specialties)
    with pytest.raises(NotFound):
        people.centre("C9")
    with pytest.raises(NotFound):
        people.site("R9")


def test_routes(people: People, db: Database) -> None:
    people.add_route("NEURO_EM", specialty="radiology", urgency="emergency", centre_code="C1")
    route = people.route("NEURO_EM        ")
    assert route is not None and (route.urgency, route.profile) == ("emergency", "clinical")
    assert route.centre_id == people.centre("C1").id
    assert people.route("CONSILIUM") is None
    assert [r.called_ae for r in people.routes()] == ["NEURO_EM"]
    people.remove_route("NEURO_EM")
    assert people.route("NEURO_EM") is None and last_audit(db)[0] == "route.remove"
    for wrong in (
        {"specialty": "astrology"},
        {"specialty": "radiology", "urgency": "soon"},
        {"specialty": "radiology", "profile": "none"},
        {"specialty": "cardiology", "centre_code": "C1"},
    ):
        with pytest.raises(Invalid):
            people.add_route("X", **wrong)
    with pytest.raises(NotFound):
        people.add_route("X", specialty="radiology", centre_code="C9")
    with pytest.raises(NotFound):
        people.remove_route("X")


# --- accounts ---


def test_an_account_signs_in_with_its_password_only(people: People) -> None:
    added = people.add_user(" Anna ", "consultant", PASSWORD, centre_code="C1", full_name="Анна  Петрова")
    assert (added.login, added.full_name, added.centre_id) == ("anna", "Анна Петрова", people.centre("C1").id)
    assert PASSWORD not in added.password_hash and added.password_hash.startswith("$argon2id$")
    user = people.authenticate("ANNA", PASSWORD)
    assert user is not None and user.id == added.id
    for login, password in (
        ("anna", PASSWORD + "x"),
        ("anna", ""),
        ("nobody", PASSWORD),
        ("", ""),
        ("anna", "x" * 5000),
    ):
        assert people.authenticate(login, password) is None


def test_an_unknown_login_costs_as_much_as_a_wrong_password(db: Database) -> None:
    people = People(db, PasswordHasher(time_cost=2, memory_cost=16384, parallelism=1))
    people.add_user("anna", "auditor", PASSWORD)

    def cost(login: str) -> float:
        people.authenticate(login, "warm up")
        times = []
        for _ in range(5):
            start = time.process_time()
            people.authenticate(login, "wrong password")
            times.append(time.process_time() - start)
        return min(times)

    known, unknown = cost("anna"), cost("nobody")
    assert 0.5 < unknown / known < 2


def test_a_closed_account_does_not_sign_in(people: People) -> None:
    people.add_user("anna", "auditor", PASSWORD)
    token = people.create_token("anna")
    epoch = people.user("anna").session_epoch
    people.set_active("anna", False)
    assert people.authenticate("anna", PASSWORD) is None and people.user_by_token(token) is None
    assert people.user("anna").session_epoch > epoch
    people.set_active("anna", True)
    assert people.authenticate("anna", PASSWORD) is not None


def test_a_new_password_ends_the_old_one_and_the_sessions(people: People, db: Database) -> None:
    people.add_user("anna", "auditor", PASSWORD, must_change_password=True)
    before = people.user("anna")
    after = people.set_password("anna", "another good password", actor="user:anna")
    assert before.must_change_password and not after.must_change_password
    assert after.session_epoch == before.session_epoch + 1
    assert people.authenticate("anna", PASSWORD) is None
    assert people.authenticate("anna", "another good password") is not None
    assert last_audit(db) == ("user.password", "user:anna", "user:anna")
    assert people.end_sessions("anna").session_epoch == before.session_epoch + 2


def test_weak_passwords_are_refused(people: People) -> None:
    for weak in ("", "short", "aaaaaaaaaaaa", "x" * 1001, "anna.petrova"):
        with pytest.raises(Invalid, match="password"):
            people.add_user("anna.petrova", "auditor", weak)
    people.add_user("anna", "auditor", PASSWORD)
    with pytest.raises(Invalid):
        people.set_password("anna", "short")
    check_policy("длинный пароль")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_belongs_where_it_belongs(people: People, role: str) -> None:
    tenants: dict[str, dict[str, str]] = {
        "site": {"site_code": "R1"},
        "centre": {"centre_code": "C1"},
        "": {},
    }
    tenants["both"] = tenants["site"] | tenants["centre"]
    wanted = {"referrer": "site", "consultant": "centre", "coordinator": "centre"}.get(role, "")
    for kind, tenant in tenants.items():
        if kind == wanted:
            people.add_user(f"{role}-{kind or 'none'}", role, PASSWORD, **tenant)
        else:
            with pytest.raises(Invalid, match="belongs to"):
                people.add_user(f"{role}-{kind or 'none'}", role, PASSWORD, **tenant)


def test_malformed_accounts(people: People) -> None:
    people.add_user("anna", "auditor", PASSWORD)
    with pytest.raises(Conflict):
        people.add_user("ANNA", "auditor", PASSWORD)
    for login in ("", "a b", "-a", "анна", "a" * 65):
        with pytest.raises(Invalid):
            people.add_user(login, "auditor", PASSWORD)
    with pytest.raises(Invalid):
        people.add_user("x", "king", PASSWORD)
    with pytest.raises(Invalid):
        people.add_user("x", "auditor", PASSWORD, language="fr")
    with pytest.raises(NotFound):
        people.add_user("x", "referrer", PASSWORD, site_code="R9")
    with pytest.raises(NotFound):
        people.add_user("x", "consultant", PASSWORD, centre_code="C9")
    for call in (people.user, people.create_token, people.tokens, people.end_sessions):
        with pytest.raises(NotFound):
            call("nobody")
    assert [u.login for u in people.users()] == ["anna"]
    assert people.user_by_id(10**6) is None


def test_language(people: People) -> None:
    people.add_user("anna", "auditor", PASSWORD)
    assert people.set_language("anna", "ru").language == "ru"
    with pytest.raises(Invalid):
        people.set_language("anna", "fr")


def test_a_hash_made_with_weaker_parameters_is_renewed_at_sign_in(people: People, db: Database) -> None:
    people.add_user("anna", "auditor", PASSWORD)
    old = people.user("anna").password_hash
    stronger = People(db, PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    assert stronger.authenticate("anna", PASSWORD) is not None
    assert stronger.user("anna").password_hash != old
    assert stronger.authenticate("anna", PASSWORD) is not None


def test_a_damaged_hash_opens_nothing() -> None:
    passwords = Passwords(QUICK)
    assert not passwords.verify("not a hash", PASSWORD)
    assert not passwords.verify("", "")


def test_one_time_passwords_differ_and_suffice() -> None:
    made = {one_time_password() for _ in range(50)}
    assert len(made) == 50
    for password in made:
        check_policy(password)


# --- tokens ---


def test_tokens(people: People, db: Database) -> None:
    people.add_user("anna", "auditor", PASSWORD)
    token = people.create_token("anna", actor="user:anna")
    other = people.create_token("anna")
    assert token != other and last_audit(db)[0] == "token.create"
    user = people.user_by_token(token)
    assert user is not None and user.login == "anna"
    for wrong in ("", token[:-1], token.upper(), "x" * 10000):
        assert people.user_by_token(wrong) is None
    newest, oldest = people.tokens("anna")
    assert oldest.last_used_at is not None and newest.last_used_at is None
    with db.read() as session:
        assert token not in str([vars(t) for t in session.query(Token)]), "only the digest is kept"
    people.revoke_token("anna", oldest.id)
    assert people.user_by_token(token) is None and people.user_by_token(other) is not None
    assert [t.id for t in people.tokens("anna")] == [newest.id]
    with pytest.raises(NotFound):
        people.revoke_token("anna", oldest.id)
    people.add_user("boris", "auditor", PASSWORD)
    with pytest.raises(NotFound):
        people.revoke_token("boris", newest.id)


def test_the_last_use_of_a_token_is_written_once_a_minute(people: People, db: Database) -> None:
    people.add_user("anna", "auditor", PASSWORD)
    token = people.create_token("anna")
    people.user_by_token(token)
    (first,) = people.tokens("anna")
    people.user_by_token(token)
    (again,) = people.tokens("anna")
    assert again.last_used_at == first.last_used_at
    with db.write() as session:
        stored = session.get(Token, first.id)
        assert stored is not None
        stored.last_used_at = now() - timedelta(hours=1)
    people.user_by_token(token)
    (later,) = people.tokens("anna")
    assert later.last_used_at is not None and now() - later.last_used_at < timedelta(minutes=1)


def test_every_change_is_audited_without_secrets(people: People, db: Database) -> None:
    people.add_user("anna", "auditor", PASSWORD)
    token = people.create_token("anna")
    people.set_password("anna", "another good password")
    trail, _ = Audit(db).search()
    assert [e.action for e in reversed(trail)] == [
        "site.add",
        "centre.add",
        "user.add",
        "token.create",
        "user.password",
    ]
    text = str([(e.actor, e.subject, e.details) for e in trail])
    assert not any(secret in text for secret in (PASSWORD, "another good password", token))
    assert Audit(db).verify().intact
    assert isinstance(people.user("anna"), User)
