"""Who sees which study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.access import may_see_study, scope_for, studies_within
from storage.schema import Study
from storage.scope import EVERYTHING, NOTHING
from tests.consulting import World, study_uid


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.db.close()


def seen(world: World, login: str) -> set[str]:
    user = world.user(login)
    with world.db.read() as session:
        studies = session.query(Study).all()
        found = {s.study_instance_uid for s in studies if may_see_study(session, user, s)}
        listed = session.query(Study).filter(studies_within(scope_for(user))).all()
    assert {s.study_instance_uid for s in listed} == found
    return found


def test_each_tenant_sees_its_own(world: World) -> None:
    north, south = study_uid("NORTH"), study_uid("SOUTH")
    assert (seen(world, "north-doctor"), seen(world, "south-doctor")) == ({north}, {south})
    for login in ("onco-first", "onco-triage", "cardio-first", "admin", "auditor"):
        assert seen(world, login) == set()
    pid = world.ask()
    assert seen(world, "onco-first") == seen(world, "onco-second") == seen(world, "onco-triage") == {north}
    assert seen(world, "cardio-first") == seen(world, "cardio-triage") == set()
    world.consultations.decline(pid, world.user("onco-first"), "wrong specialty")
    assert seen(world, "onco-first") == set()


def test_a_redirected_study_leaves_the_first_centre(world: World) -> None:
    pid = world.ask(specialty="radiology", centre_code="ONCO")
    world.consultations.assign(pid, world.user("onco-triage"), None, "CARDIO")
    assert seen(world, "onco-first") == set()
    assert seen(world, "cardio-first") == {study_uid("NORTH")}


def test_a_request_without_a_centre_shows_no_images(world: World) -> None:
    world.ask(specialty="ophthalmology")
    assert seen(world, "onco-triage") == set()


def test_a_closed_account_sees_nothing(world: World) -> None:
    user = world.user("north-doctor")
    user.active = False
    assert scope_for(user) == NOTHING
    assert seen(world, "north-doctor") == set()
    with world.db.read() as session:
        assert session.query(Study).filter(studies_within(EVERYTHING)).count() == 2
