"""Adding, sealing, trusting and reading all at once, on two nodes; and a sealer killed again and again."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from config.errors import StorageUnavailable
from storage.database import Database
from storage.objects import ObjectStore, open_object_store
from storage.schema import Instance, Pack, now
from tests.storage.making import SERIES, STUDY, Room, room, slice_of

pytestmark = pytest.mark.slow

COUNT = 30


@dataclass
class Address:
    object_store: str
    s3_access_key: str = ""
    s3_secret_key: str = ""


Opened = tuple[Database, ObjectStore]


@pytest.fixture(params=["one machine", pytest.param("network", marks=pytest.mark.integration)])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Opened]]:
    """Opens the database and object store all nodes share, as each process does."""
    if request.param == "one machine":
        url, address = f"sqlite:///{tmp_path / 'index.db'}", Address(f"file://{tmp_path}/objects")
    else:
        url, server = request.getfixturevalue("postgres_url"), request.getfixturevalue("s3_server")
        address = Address(request.getfixturevalue("s3_bucket"), server.access_key, server.secret_key)
    opened: list[Database] = []

    def open_them() -> Opened:
        opened.append(Database(url))
        return opened[-1], open_object_store(address)

    database, objects = open_them()
    database.upgrade()
    objects.prepare()
    yield open_them
    for one in opened:
        one.close()


def _repeat(
    work: Callable[[], object], stop: threading.Event, failures: list[BaseException]
) -> threading.Thread:
    def run() -> None:
        while not stop.is_set():
            try:
                work()
            except BaseException as error:
                failures.append(error)
                return
            time.sleep(0.005)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_nothing_is_missing_at_any_moment(shared: Callable[[], Opened], tmp_path: Path) -> None:
    database, objects = shared()
    nodes = [
        room(tmp_path, db=database, objects=objects, node=name, seal_after=0, trust_after=0)
        for name in ("n1", "n2")
    ]
    acknowledged: list[dict[str, int]] = [{}, {}]  # by node: UID → instance number
    failures: list[BaseException] = []
    stop = threading.Event()

    def read(mine: int) -> None:
        """Everything this node acknowledged before the look is seen by it, whole."""
        expected = dict(acknowledged[mine])
        if not expected:
            return
        found = {entry.sop_instance_uid: entry for entry in nodes[mine].archive.entries(SERIES)}
        assert expected.keys() <= found.keys()
        uid = random.choice(list(expected))
        try:
            content = nodes[mine].archive.read(found[uid])
        except StorageUnavailable:  # sealed and trusted in between: "ask again"
            content = nodes[mine].archive.read(nodes[mine].archive.entry(SERIES, uid))
        assert uid.encode() in content

    def seal(node: Room) -> None:
        node.sealer.seal_due(now() + timedelta(seconds=1))
        node.sealer.trust_due(now() + timedelta(seconds=1))

    threads = [_repeat(lambda n=node: seal(n), stop, failures) for node in nodes]  # type: ignore[misc]
    threads += [_repeat(lambda i=i: read(i), stop, failures) for i in (0, 1)]  # type: ignore[misc]
    for number in range(COUNT):
        dataset = slice_of(number)
        nodes[number % 2].keep(dataset)
        acknowledged[number % 2][dataset.SOPInstanceUID] = number
        time.sleep(0.01)
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert failures == []
    for node in nodes:
        seal(node)
    _whole(database, nodes[0], COUNT)


def _whole(database: Database, node: Room, count: int) -> None:
    entries = node.archive.entries(SERIES)
    assert [int(entry.instance_number) for entry in entries] == list(range(count))[::-1], "in slice order"
    for entry in entries:
        assert entry.sop_instance_uid.encode() in node.archive.read(entry)
    assert node.index.study(STUDY).instance_count == node.index.series(SERIES).instance_count == count
    with database.read() as session:
        assert session.scalar(select(func.count(Instance.id))) == 0
        assert session.scalar(select(func.sum(Pack.instance_count))) == count
    assert node.index.series(SERIES).sealed


def _sealer_process(shared: Callable[[], Opened], tmp_path: Path) -> None:
    database, objects = shared()
    store = room(tmp_path, db=database, objects=objects, seal_after=0, trust_after=0)
    while True:
        store.sealer.seal_due(now() + timedelta(seconds=1))
        store.sealer.trust_due(now() + timedelta(seconds=1))


def test_a_sealer_killed_at_any_moment_loses_nothing(shared: Callable[[], Opened], tmp_path: Path) -> None:
    database, objects = shared()
    store = room(tmp_path, db=database, objects=objects, seal_after=0, trust_after=0)
    context = multiprocessing.get_context("fork")
    chance = random.Random(11)
    for number in range(COUNT // 2):
        store.keep(slice_of(number))
        child = context.Process(target=_sealer_process, args=(shared, tmp_path))
        child.start()
        time.sleep(chance.uniform(0.01, 0.15))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join(30)
        assert len(store.archive.entries(SERIES)) == number + 1
    for _ in range(2):
        store.sealer.seal_due(now() + timedelta(seconds=1))
        store.sealer.trust_due(now() + timedelta(seconds=1))
    _whole(database, store, COUNT // 2)
    assert list(store.spool.names()) == []
