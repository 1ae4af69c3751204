"""What every object store promises, over every implementation; S3 against a real server (SeaweedFS)."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.errors import ConfigurationError, Invalid, NotFound, StorageFull, StorageUnavailable
from storage.objects import ObjectStore, open_object_store
from storage.objects.filesystem import FilesystemObjectStore
from storage.objects.memory import MemoryObjectStore
from storage.objects.s3 import S3ObjectStore


@pytest.fixture(params=["memory", "filesystem", pytest.param("s3", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "memory":
        made: ObjectStore = MemoryObjectStore()
    elif request.param == "filesystem":
        made = FilesystemObjectStore(tmp_path / "objects")
    else:
        server: Any = request.getfixturevalue("s3_server")
        bucket = re.sub("[^a-z0-9]+", "-", tmp_path.name.lower()).strip("-")[-40:] + "-t"
        made = S3ObjectStore(server.endpoint, bucket, server.access_key, server.secret_key, secure=False)
    made.prepare()
    made.prepare()
    yield made


def test_what_was_put_is_got(store: ObjectStore) -> None:
    data = os.urandom(100_000)
    store.put("packs/2.25.1/1-ab.zip", data)
    assert store.get("packs/2.25.1/1-ab.zip") == data
    assert store.size("packs/2.25.1/1-ab.zip") == 100_000
    assert store.exists("packs/2.25.1/1-ab.zip")
    assert abs(store.stat("packs/2.25.1/1-ab.zip").modified - datetime.now(UTC)) < timedelta(minutes=2)


def test_a_file_is_put_without_being_read_whole(store: ObjectStore, tmp_path: Path) -> None:
    data = os.urandom(9_000_000)  # more than one part of the smallest multipart upload
    (tmp_path / "source").write_bytes(data)
    store.put("a/b", tmp_path / "source")
    assert store.get("a/b") == data
    with store.open("a/b") as stream:
        assert stream.read(10) == data[:10]
        assert stream.read() == data[10:]


def test_an_object_may_be_empty(store: ObjectStore) -> None:
    store.put("a/empty", b"")
    assert (store.get("a/empty"), store.size("a/empty"), store.get_range("a/empty", 0, 0)) == (b"", 0, b"")


def test_the_last_put_wins(store: ObjectStore) -> None:
    store.put("a/b", b"one")
    store.put("a/b", b"second")
    assert store.get("a/b") == b"second"


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, 1000), (500, 500), (999, 1), (10, 0)])
def test_a_range_is_exactly_what_was_asked_for(store: ObjectStore, offset: int, length: int) -> None:
    data = os.urandom(1000)
    store.put("a/b", data)
    assert store.get_range("a/b", offset, length) == data[offset : offset + length]


@pytest.mark.parametrize(("offset", "length"), [(0, 1001), (999, 2), (1000, 1), (5000, 10), (-1, 5), (0, -5)])
def test_a_range_beyond_the_object_is_refused(store: ObjectStore, offset: int, length: int) -> None:
    store.put("a/b", bytes(1000))
    with pytest.raises(Invalid):
        store.get_range("a/b", offset, length)


def test_what_is_not_there_is_not_found(store: ObjectStore) -> None:
    store.put("a/b", b"x")
    for key in ("a/c", "b", "a", "a/b/c"):
        with pytest.raises(NotFound):
            store.get(key)
        with pytest.raises(NotFound):
            store.get_range(key, 0, 1)
        with pytest.raises(NotFound):
            store.get_range(key, 0, 0)
        with pytest.raises(NotFound):
            store.open(key)
        with pytest.raises(NotFound):
            store.size(key)
        assert not store.exists(key)


def test_deleting_is_final_and_repeatable(store: ObjectStore) -> None:
    store.put("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    assert not store.exists("a/b")
    assert list(store.list()) == []
    store.put("a/b", b"y")
    assert store.get("a/b") == b"y"


def test_listing_is_by_prefix_and_sorted(store: ObjectStore) -> None:
    keys = ["packs/1/1-a.zip", "packs/1/1-a.json.gz", "packs/10/1-b.zip", "packs/2/1-c.zip", "other/x"]
    for key in keys:
        store.put(key, b"x")
    assert list(store.list()) == sorted(keys)
    assert list(store.list("packs/1")) == ["packs/1/1-a.json.gz", "packs/1/1-a.zip", "packs/10/1-b.zip"]
    assert list(store.list("packs/1/")) == ["packs/1/1-a.json.gz", "packs/1/1-a.zip"]
    assert list(store.list("none/")) == []


@pytest.mark.parametrize(
    "key", ["", "/", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a/.b", "a b", "ä", "x" * 301]
)
def test_a_key_is_checked_everywhere(store: ObjectStore, key: str) -> None:
    for act in (store.get, store.open, store.size, store.exists, store.delete):
        with pytest.raises(Invalid):
            act(key)
    with pytest.raises(Invalid):
        store.put(key, b"")
    with pytest.raises(Invalid):
        store.get_range(key, 0, 1)


def test_many_at_once(store: ObjectStore) -> None:
    """Readers of a key never see half of what a writer puts."""
    one, other = b"a" * 50_000, b"b" * 50_000
    store.put("shared", one)
    wrong: list[int] = []

    def work(turn: int) -> None:
        for _ in range(10):
            store.put("shared", one if turn % 2 else other)
            if store.get("shared") not in (one, other):
                wrong.append(turn)
            store.put(f"own/{turn}", one)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(list(store.list("own/"))) == 6


def test_it_answers(store: ObjectStore) -> None:
    store.ping()


def test_a_store_that_is_not_there_does_not_answer() -> None:
    store = S3ObjectStore("127.0.0.1:1", "bucket", "a" * 8, "b" * 8, secure=False)
    for act in (
        store.ping,
        store.prepare,
        lambda: store.put("a", b""),
        lambda: store.get("a"),
        lambda: list(store.list()),
    ):
        with pytest.raises(StorageUnavailable):
            act()


@pytest.mark.integration
def test_wrong_keys_and_a_missing_bucket_are_told(s3_server: Any) -> None:
    stranger = S3ObjectStore(s3_server.endpoint, "bucket-x", "stranger", "wrong-secret", secure=False)
    with pytest.raises(StorageUnavailable, match="access keys"):
        stranger.get("a")
    nowhere = S3ObjectStore(
        s3_server.endpoint, "no-such-bucket", s3_server.access_key, s3_server.secret_key, secure=False
    )
    with pytest.raises(StorageUnavailable, match="consilium init"):
        nowhere.ping()


def test_files_and_directories_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path)))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    FilesystemObjectStore(tmp_path / "objects").put("a/b/c", b"x")
    assert synced[:3] == [".", "objects", "objects/a"], "new directories' names, from the top"
    assert synced[3].startswith("objects/a/b/.part-")
    assert synced[4:] == ["objects/a/b"]


@dataclass
class Configured:
    object_store: str
    s3_access_key: str = ""
    s3_secret_key: str = ""


def test_a_folder_that_goes_away_under_a_put_is_made_again(tmp_path: Path) -> None:
    """One thread deletes the last object of a folder, over and over, while another puts into it."""
    store = FilesystemObjectStore(tmp_path / "objects")
    stop = threading.Event()

    def delete() -> None:
        while not stop.is_set():
            store.put("a/b", b"x")
            store.delete("a/b")

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        for number in range(200):
            store.put("a/c", b"y")
            assert store.get("a/c") == b"y", number
            store.delete("a/c")
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("size", [0, 1, 4096])
def test_a_full_device_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = FilesystemObjectStore(tmp_path / "objects")
    store.put("a/b", b"before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        store.put("a/b", bytes(size))
    monkeypatch.undo()
    assert store.get("a/b") == b"before"
    assert [path.name for path in (tmp_path / "objects" / "a").iterdir()] == ["b"], (
        "nothing half written is left"
    )


def test_the_setting_chooses_the_store(tmp_path: Path) -> None:
    made = open_object_store(Configured(f"file://{tmp_path}/with%20space"))
    assert isinstance(made, FilesystemObjectStore) and made.root == tmp_path / "with space"
    made = open_object_store(Configured("s3://images?endpoint=127.0.0.1:9000&secure=0", "key", "secret"))
    assert isinstance(made, S3ObjectStore) and made.bucket == "images"
    assert isinstance(open_object_store(Configured("memory:")), MemoryObjectStore)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/objects",
        "ftp://x",
        "file://host/x",
        "s3://b",
        "s3://?endpoint=h:1",
        "s3://b?endpoint=h:1&secrue=0",
    ],
)
def test_an_unusable_setting_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="examples"):
        open_object_store(Configured(url, "key", "secret"))


def test_s3_without_keys_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="s3_access_key"):
        open_object_store(Configured("s3://images?endpoint=127.0.0.1:9000"))
