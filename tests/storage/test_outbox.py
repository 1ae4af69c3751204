"""The one retry layer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from config.errors import Conflict, NotFound
from storage.outbox import Outbox
from storage.schema import OutboxItem, now
from tests.consulting import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.send_to("NORTH", "dicom", "PACS@127.0.0.1:104")
    made.sign(made.ask())
    yield made
    made.db.close()


def row(world: World, channel: str = "dicom") -> OutboxItem:
    with world.db.read() as session:
        return session.query(OutboxItem).filter_by(channel=channel).one()


def test_a_lease_keeps_others_away_and_runs_out(world: World) -> None:
    box = Outbox(world.db, lease=600)
    assert box.next_due() == 0.0
    first = box.due()
    assert {r.channel for r in first} == {"portal", "dicom"}
    assert first[0].opinion.consultation.site.code == "NORTH"
    assert box.due() == []
    assert 590 < (box.next_due() or 0) <= 600
    with world.db.write() as session:
        for r in session.query(OutboxItem):
            r.leased_until = now() - timedelta(seconds=1)
    assert {r.attempts for r in box.due()} == {2}, "an attempt that died is counted"


def test_back_off(world: World) -> None:
    box = Outbox(world.db, base=10, maximum=100)
    for attempts, plain in ((1, 10), (2, 20), (4, 80), (5, 100), (500, 100)):
        assert plain * 0.8 <= box.pause(attempts) <= plain * 1.2
    box.due()
    item = row(world)
    box.failed(item.id, "the association was rejected", transient=True, progress={"sr": True})
    item = row(world)
    assert item.state == "pending" and item.leased_until is None and item.progress == {"sr": True}
    assert item.next_attempt_at > now() + timedelta(seconds=7)
    assert box.due() == []
    assert (box.next_due() or 0) > 7


def test_permanent_and_limited_failures_are_refused(world: World) -> None:
    box = world.outbox
    for expected in ("pending", "pending", "refused"):
        box.due()
        box.failed(row(world).id, "status 0xC000", transient=True, attempts=3)
        assert row(world).state == expected
    assert box.counts() == {"pending": 1, "delivered": 0, "refused": 1}
    with world.db.write() as session:
        box.retry(row(world).id, session=session)
    assert (row(world).state, row(world).attempts) == ("pending", 0)
    box.refused(row(world).id, "x" * 5000)
    assert row(world).state == "refused" and len(row(world).last_error) == 500
    assert [r.channel for r in box.list(states=["refused"])] == ["dicom"]


def test_delivered_is_final(world: World) -> None:
    box = world.outbox
    with world.db.write() as session:
        box.succeeded(row(world).id, {"sr": True}, session=session)
    assert row(world).delivered_at is not None
    with pytest.raises(Conflict), world.db.write() as session:
        box.retry(row(world).id, session=session)
    with pytest.raises(NotFound):
        box.progress(4711, {})
    assert {r.channel for r in box.due()} == {"portal"}
