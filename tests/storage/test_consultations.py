"""The life of a consultation: every legal change, no illegal one, every change in the audit trail."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from config.errors import Conflict, Forbidden, Invalid, NotFound
from storage.access import allowed_actions
from storage.opinions import StaleRevision, canonical, digest
from storage.schema import Annotation, Consultation, Opinion, OutboxItem, User
from storage.transitions import CHANGES, Party, State
from tests.consulting import World, length_mark, study_uid


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.db.close()


def test_the_whole_way(world: World) -> None:
    world.send_to("NORTH", "dicom", "PACS@127.0.0.1:104")
    world.send_to("NORTH", "fhir", "https://fhir.example/r4")
    c, doctor, site = world.consultations, world.user("onco-first"), world.user("north-doctor")
    pid = world.ask()
    assert c.get(pid, doctor).state == "requested"
    assert c.get(pid, doctor).due_at - c.get(pid, doctor).requested_at == timedelta(hours=24)
    accepted = c.accept(pid, doctor)
    assert (accepted.state, accepted.assignee and accepted.assignee.login) == ("accepted", "onco-first")
    assert c.ask(pid, doctor, "Is there a prior study?").state == "returned"
    answered = c.answer(pid, site, "None.")
    assert answered.state == "accepted"
    assert [(m.kind, m.text, m.author and m.author.login) for m in answered.messages] == [
        ("question", "Is there a prior study?", "onco-first"),
        ("answer", "None.", "north-doctor"),
    ]
    opinion = world.sign(pid)
    signed = c.get(pid, site)
    assert signed.state == "signed" and signed.signed_at == opinion.signed_at
    with world.db.read() as session:
        rows = session.query(OutboxItem).order_by(OutboxItem.channel).all()
    assert [(r.channel, r.target, r.state) for r in rows] == [
        ("dicom", "PACS@127.0.0.1:104", "pending"),
        ("fhir", "https://fhir.example/r4", "pending"),
        ("portal", "", "pending"),
    ]
    for row in rows:
        with world.db.write() as session:
            world.outbox.succeeded(row.id, session=session)
            done = c.delivered(session, session.get_one(Opinion, opinion.id))
        assert done == (row is rows[-1])
    assert c.get(pid, site).state == "delivered"
    closed = c.acknowledge(pid, site)
    assert closed.state == "acknowledged" and closed.closed_at is not None
    assert [e.action for e in world.events()] == [
        "consultation.request",
        "consultation.accept",
        "consultation.ask",
        "consultation.answer",
        "opinion.draft",
        "consultation.sign",
        "consultation.deliver",
        "consultation.acknowledge",
    ]
    assert world.audit.verify().intact


def test_only_the_table_is_possible(world: World) -> None:
    """Every action by every person in every state either is in the table and works, or changes nothing."""
    c = world.consultations

    def act(action: str, pid: str, user: User) -> object:
        match action:
            case "draft":
                return c.draft(pid, user, 0, "a", "b", "c")
            case "sign":
                return c.sign(pid, user, 1)
            case "assign":
                return c.assign(pid, user, "onco-second", None)
            case "annotate":
                return world.annotations.put(pid, user, "m", length_mark("m"), None)
            case "accept" | "acknowledge":
                return getattr(c, action)(pid, user)
        return getattr(c, action)(pid, user, "because")

    def prepare(action: str, state: State) -> str:
        pid = world.ask("NORTH")
        with world.db.write() as session:
            row = session.query(Consultation).filter_by(public_id=pid).one()
            row.state = state
            if state != State.REQUESTED:
                row.assigned_to, row.accepted_at = world.user("onco-first").id, row.requested_at
            if action == "sign":
                author = world.user("onco-first").id
                session.add(Opinion(consultation_id=row.id, author_id=author, conclusion="b", revision=1))
        return pid

    def stored(pid: str) -> Consultation:
        with world.db.read() as session:
            return session.query(Consultation).filter_by(public_id=pid).one()

    def forget(pid: str) -> None:
        with world.db.write() as session:
            # The next request must not meet an open one.
            session.query(Consultation).filter_by(public_id=pid).one().state = State.CANCELLED
            session.query(Annotation).delete()

    seen = 0
    for action, state in itertools.product([a for a in CHANGES if a != "deliver"], State):
        pid = prepare(action, state)
        for user in world.users.values():
            parties = {
                "north-doctor": {Party.REFERRER},
                "onco-triage": {Party.COORDINATOR},
                "onco-first": {Party.CONSULTANT} | ({Party.ASSIGNEE} if state != "requested" else set()),
                "onco-second": {Party.CONSULTANT} if state == "requested" else set(),
            }.get(user.login, set())
            legal = state in CHANGES[action].sources and bool(parties & CHANGES[action].parties)
            before = stored(pid)
            assert (action in allowed_actions(user, before)) == legal
            if legal:
                act(action, pid, user)
                seen += 1
                forget(pid)
                pid = prepare(action, state)
                continue
            with pytest.raises((Conflict, Forbidden, NotFound)):
                act(action, pid, user)
            after = stored(pid)
            assert (after.state, after.revision) == (before.state, before.revision)
        forget(pid)
    assert seen == 30


def test_a_stranger_does_not_learn_that_it_exists(world: World) -> None:
    pid = world.ask()
    for login in ("south-doctor", "cardio-first", "cardio-triage", "admin", "auditor"):
        with pytest.raises(NotFound):
            world.consultations.get(pid, world.user(login))
        assert world.consultations.worklist(world.user(login))[1] == 0
        assert sum(world.consultations.counts(world.user(login)).values()) == 0


def test_a_forbidden_attempt_is_audited_and_changes_nothing(world: World) -> None:
    pid = world.ask()
    with pytest.raises(Forbidden):
        world.consultations.accept(pid, world.user("north-doctor"), origin="192.0.2.7")
    [event] = world.events("consultation.accept")
    assert (event.outcome, event.actor, event.origin) == ("failure", "user:north-doctor", "192.0.2.7")
    assert world.consultations.get(pid, world.user("onco-first")).state == "requested"


def test_a_route_opens_one_consultation_for_a_study(world: World) -> None:
    def route() -> str:
        return world.consultations.request(
            study_uid("NORTH"), specialty="oncology", urgency="emergency", actor="ae:NORTH_CT"
        ).public_id

    first = route()
    assert route() == first
    world.sign(first)
    assert route() == first, "a late instance is no new request"
    [event] = world.events("consultation.request")
    assert event.actor == "ae:NORTH_CT"
    with world.db.write() as session:
        again = world.consultations.request(
            study_uid("NORTH"), specialty="radiology", urgency="planned", session=session
        )
    assert again.public_id != first


def test_a_request_joins_the_callers_transaction(world: World) -> None:
    with pytest.raises(RuntimeError), world.db.write() as session:
        world.consultations.request(
            study_uid("NORTH"), specialty="oncology", urgency="urgent", session=session
        )
        raise RuntimeError("the instance could not be kept")
    assert world.consultations.worklist(world.user("onco-first"))[1] == 0
    assert world.events() == []


def test_a_doctor_asks_twice(world: World) -> None:
    world.ask()
    with pytest.raises(Conflict):
        world.ask()
    with pytest.raises(NotFound):
        world.ask("NORTH", user=world.user("south-doctor"))
    with pytest.raises(Forbidden):
        admin = world.user("admin")
        admin.site_id = world.user("north-doctor").site_id
        world.ask("NORTH", user=admin)


def test_the_least_busy_centre_is_asked(world: World) -> None:
    first = world.ask("NORTH", specialty="radiology")
    second = world.ask("SOUTH", specialty="radiology")
    assert world.consultations.get(first, world.user("cardio-first")).centre.code == "CARDIO"  # type: ignore[union-attr]
    assert world.consultations.get(second, world.user("onco-first")).centre.code == "ONCO"  # type: ignore[union-attr]


def test_what_no_centre_answers_waits_for_a_coordinator(world: World) -> None:
    pid = world.ask(specialty="ophthalmology")
    with pytest.raises(NotFound):
        world.consultations.get(pid, world.user("onco-first"))
    triage = world.user("cardio-triage")
    assert world.consultations.get(pid, triage).centre is None
    assert world.consultations.assign(pid, triage, "cardio-first", None).centre.code == "CARDIO"  # type: ignore[union-attr]
    with pytest.raises(NotFound):
        world.consultations.get(pid, world.user("onco-triage"))
    world.consultations.accept(pid, world.user("cardio-first"))


@pytest.mark.parametrize(
    "more",
    [{"specialty": "alchemy"}, {"urgency": "whenever"}, {"question": "x" * 4001}, {"centre_code": "CARDIO"}],
)
def test_a_request_is_checked(world: World, more: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        world.ask(**more)
    with pytest.raises(NotFound):
        world.ask(centre_code="NOWHERE")


def test_assigning_takes_it_from_whoever_had_it(world: World) -> None:
    c, pid = world.consultations, world.ask()
    c.accept(pid, world.user("onco-first"))
    c.draft(pid, world.user("onco-first"), 0, "mine", "", "")
    moved = c.assign(pid, world.user("onco-triage"), "onco-second", None)
    assert (moved.state, moved.accepted_at) == ("requested", None)
    with pytest.raises(Forbidden):
        c.accept(pid, world.user("onco-first"))
    assert c.accept(pid, world.user("onco-second")).state == "accepted"
    assert c.opinion(pid, world.user("onco-second")) is None
    assert c.opinion(pid, world.user("onco-first")).findings == "mine"  # type: ignore[union-attr]
    with pytest.raises(Invalid):
        c.assign(pid, world.user("onco-triage"), "cardio-first", None)
    freed = c.assign(pid, world.user("onco-triage"), None, None)
    assert freed.assigned_to is None and freed.state == "requested"


def test_a_draft_is_kept_and_not_overwritten_by_an_older_one(world: World) -> None:
    c, pid, doctor = world.consultations, world.ask(), world.user("onco-first")
    c.accept(pid, doctor)
    assert c.draft(pid, doctor, 0, "Очаг", "", "").revision == 1
    assert c.draft(pid, doctor, 1, "Очаг 12 мм", "", "").revision == 2
    assert c.draft(pid, doctor, 1, "Очаг 12 мм", "", "").revision == 2, "a repeated request is no conflict"
    with pytest.raises(StaleRevision) as error:
        c.draft(pid, doctor, 1, "other", "", "")
    assert error.value.detail == {"revision": 2}
    with pytest.raises(Invalid):
        c.draft(pid, doctor, 2, "x" * 30_001, "", "")
    kept = c.opinion(pid, doctor)
    assert kept is not None and kept.findings == "Очаг 12 мм"
    assert c.opinion(pid, world.user("north-doctor")) is None, "a draft is its author's"


def test_signing_freezes(world: World) -> None:
    c, pid, doctor = world.consultations, world.ask(), world.user("onco-first")
    c.accept(pid, doctor)
    with pytest.raises(Conflict):
        c.sign(pid, doctor, 0)
    world.annotations.put(pid, doctor, "mark-1", length_mark(), None)
    draft = c.draft(pid, doctor, 0, "Очаг\r\nв S6\x07\ud83d", "  ", "")
    with pytest.raises(Invalid):
        c.sign(pid, doctor, draft.revision)
    c.draft(pid, doctor, 1, "Очаг\r\nв S6\x07", "Метастазов нет", "")
    with pytest.raises(StaleRevision):
        c.sign(pid, doctor, 1)
    opinion = c.sign(pid, doctor, 2)
    with world.db.read() as session:
        stored = session.get_one(Opinion, opinion.id)
    content = stored.content
    assert content is not None
    assert stored.content_sha256 == digest(content) == digest(json.loads(canonical(content)))
    assert content["findings"] == "Очаг\nв S6"
    assert content["language"] == "ru"
    assert content["author"] == {"login": "onco-first", "name": "Dr onco-first"}
    assert content["centre"] == {"code": "ONCO", "name": "Centre ONCO"}
    assert content["study"]["study_instance_uid"] == study_uid("NORTH")
    assert content["study"]["accession_number"] == "ACC-NORTH"
    [mark] = content["annotations"]
    assert mark["measurements"] == {"length": {"value": 12.3, "unit": "mm"}} and "state" not in mark
    for attempt in (
        lambda: c.draft(pid, doctor, 2, "x", "y", "z"),
        lambda: c.sign(pid, doctor, 2),
        lambda: c.cancel(pid, world.user("north-doctor"), "late"),
        lambda: world.annotations.put(pid, doctor, "mark-1", length_mark(label="other"), 1),
        lambda: world.annotations.delete(pid, doctor, "mark-1"),
    ):
        with pytest.raises(Conflict):
            attempt()
    assert c.opinion(pid, world.user("north-doctor")).conclusion == "Метастазов нет"  # type: ignore[union-attr]


def test_signing_is_one_transaction(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pid, doctor = world.ask(), world.user("onco-first")
    world.consultations.accept(pid, doctor)
    world.consultations.draft(pid, doctor, 0, "a", "b", "c")

    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(world.audit, "record", fail)
    with pytest.raises(OSError):
        world.consultations.sign(pid, doctor, 1)
    assert world.consultations.get(pid, doctor).state == "accepted"
    assert world.outbox.counts()["pending"] == 0
    with world.db.read() as session:
        assert session.query(Opinion).one().signed_at is None


def test_the_worklist(world: World) -> None:
    doctor = world.user("onco-first")
    planned = world.ask("NORTH", urgency="planned", centre_code="ONCO")
    urgent = world.ask("SOUTH", urgency="urgent", centre_code="ONCO")
    emergency = world.ask("NORTH", urgency="emergency", specialty="radiology", centre_code="ONCO")
    c = world.consultations

    def listed(**filters: object) -> list[str]:
        rows, total = c.worklist(doctor, **filters)  # type: ignore[arg-type]
        assert total >= len(rows)
        return [r.public_id for r in rows]

    assert listed() == [emergency, urgent, planned]
    assert listed(limit=1, offset=1) == [urgent]
    assert c.worklist(doctor, limit=1)[1] == 3
    assert listed(urgency="planned") == [planned]
    assert listed(specialty="radiology") == [emergency]
    assert listed(text="south") == [urgent]
    assert listed(text="patient north chest") == [emergency, planned]
    assert listed(text="100%") == []
    assert listed(text="nothing", study_uids=[study_uid("SOUTH")]) == [urgent]
    assert listed(mine=True) == []
    c.accept(planned, doctor)
    assert listed(mine=True) == [planned]
    assert listed(states=["accepted"]) == [planned]
    assert c.counts(doctor) == {**{s.value: 0 for s in State}, "requested": 2, "accepted": 1}
    with pytest.raises(Invalid) as unknown:
        listed(states=["Иванов"])
    assert "Иванов" not in str(unknown.value), "what was typed into a filter may be anything"
    assert [r.study.site.code for r in c.worklist(world.user("south-doctor"))[0]] == ["SOUTH"]
    assert c.overdue() == {"emergency": 0, "urgent": 0, "planned": 0}
    assert [r.public_id for r in c.of_study(study_uid("NORTH"), doctor)] == [emergency, planned]
