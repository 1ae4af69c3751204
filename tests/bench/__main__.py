"""``make bench``: receiving, sealing and reading, beside DCMTK and Orthanc on the same machine.

Absolute numbers belong to the machine; the ratios carry over. Every receiver gets the same real 512×512 CT slices from
the same sender (DCMTK's ``storescu``), each run twice, the better one counted. What each does with them differs, and is
said: DCMTK's ``storescp`` only writes files, Orthanc indexes, Consilium de-identifies, keeps the identity apart, writes
and syncs before it acknowledges.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests
from rich.console import Console
from rich.table import Table

from tests import images
from tests.peers import dcmtk
from tests.peers.gateway import Backend, Running, environment
from tests.peers.orthanc import Orthanc
from tests.peers.process import Program, free_port, listening, need

SLICE = "693_UNCR.dcm"  # a real 512×512 CT slice of pydicom-data
Send = Callable[[list[Path]], dcmtk.Result]


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench", description=__doc__)
    options.add_argument("--instances", type=int, default=400, help="slices sent in each run")
    options.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    chosen = options.parse_args()
    console = Console()
    console.print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, {chosen.instances} slices"
    )
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as directory:
        home = Path(directory)
        console.print(_receiving(home, chosen.instances, chosen.associations))
        console.print(_reading(home, min(chosen.instances, 300)))


# --- receiving ---


def _receiving(home: Path, instances: int, associations: list[int]) -> Table:
    table = Table(
        "receiver", *(f"{n} assoc." for n in associations), title="C-STORE, instances/s by associations"
    )
    for name, receiver in RECEIVERS.items():
        rates = []
        for number in associations:
            best = 0.0
            for turn in range(2):
                place = home / f"{receiver.__name__}-{number}-{turn}"
                place.mkdir()
                batches = _batches(place / "sent", instances, number)
                with receiver(place) as send:
                    send(_batches(place / "first", 1, 1)[0])  # connections, compiled plans, caches
                    best = max(best, _rate(send, batches))
            rates.append(best)
        table.add_row(name, *(f"{rate:.0f}" for rate in rates))
    return table


def _batches(directory: Path, instances: int, associations: int) -> list[list[Path]]:
    """One new series for each association, written before the clock starts."""
    share = instances // associations
    made = []
    for number in range(associations):
        base = images.identify(images.renew(images.sample(SLICE)), patient_id=f"bench-{number}")
        made.append(images.write(images.ct_series(share, base), directory / str(number)))
    return made


def _rate(send: Send, batches: list[list[Path]]) -> float:
    with ThreadPoolExecutor(len(batches)) as pool:
        start = time.perf_counter()
        results = list(pool.map(send, batches))
        took = time.perf_counter() - start
    for result, batch in zip(results, batches, strict=True):
        if result.statuses != [0] * len(batch):
            raise SystemExit(f"not every instance was taken:\n{result.output[-2000:]}")
    return sum(map(len, batches)) / took


@contextmanager
def _storescp(home: Path) -> Iterator[Send]:
    port = free_port()
    kept = home / "kept"
    kept.mkdir()
    program = Program(
        [need("storescp", "Debian dcmtk"), "--fork", "-od", kept, str(port)],
        home / "log",
        environ={**os.environ, "TCP_NODELAY": "1"},
    )
    program.wait_ready(lambda: listening(port))
    try:
        yield lambda files: dcmtk.storescu(port, files)
    finally:
        program.kill()


@contextmanager
def _orthanc(home: Path) -> Iterator[Send]:
    orthanc = Orthanc(home / "orthanc")
    try:
        yield lambda files: dcmtk.storescu(orthanc.dicom_port, files)
    finally:
        orthanc.stop()


@contextmanager
def _consilium(home: Path) -> Iterator[Send]:
    running = _running(home, seal_after=3600)
    try:
        yield lambda files: dcmtk.storescu(running.dicom_port, files, calling="NORTH_PACS")
    finally:
        running.stop()


RECEIVERS = {
    "storescp --fork (DCMTK): writes": _storescp,
    "Orthanc: writes, indexes": _orthanc,
    "Consilium: de-identifies, indexes, syncs": _consilium,
}


def _running(home: Path, **settings: object) -> Running:
    quick = environment(home / "home", dicom_processes=os.cpu_count() or 1, log_level="warning", **settings)
    running = Running(Backend("sqlite+files", quick))
    running.add_network()
    return running.start()


# --- sealing and reading ---


def _reading(home: Path, instances: int) -> Table:
    place = home / "reading"
    place.mkdir()
    base = images.identify(images.renew(images.sample(SLICE)))
    files = images.write(images.ct_series(instances, base), place / "sent")
    table = Table("", "Orthanc", "Consilium", title=f"DICOMweb, a series of {instances}")
    orthanc = Orthanc(place / "orthanc", dicomweb=True)
    running = _running(place, seal_after=1)
    try:
        orthanc.upload(files)
        sent = dcmtk.storescu(running.dicom_port, files, calling="NORTH_PACS", called="RADIOLOGY")
        if not sent.ok:
            raise SystemExit(f"not every instance was taken:\n{sent.output[-2000:]}")
        start = time.perf_counter()
        running.wait_sealed(600)
        sealed = time.perf_counter() - start
        condition = running.condition()
        raw = sum(f.stat().st_size for f in files)
        token = running.add_token("consultant")
        theirs = _look(f"{orthanc.url}/dicom-web", "")
        ours = _look(f"{running.url}/dicom-web", token)
        for name, unit in (
            ("study list", "ms"),
            ("series metadata", "ms"),
            ("frames, 6 connections", "frames/s"),
        ):
            table.add_row(f"{name}, {unit}", f"{theirs[name]:.0f}", f"{ours[name]:.0f}")
        table.add_row("sealed, instances/s (with the quiet second)", "–", f"{instances / sealed:.0f}")
        table.add_row("size kept, of the size sent", "100 %", f"{100 * condition['packs_bytes'] / raw:.0f} %")
    finally:
        running.stop()
        orthanc.stop()
    return table


def _look(root: str, token: str) -> dict[str, float]:
    session = requests.Session()
    if token:
        session.headers["Authorization"] = f"Bearer {token}"
    json = {"Accept": "application/dicom+json"}

    def ask(path: str) -> list[dict[str, dict[str, list[str]]]]:
        answer = session.get(root + path, headers=json, timeout=120)
        answer.raise_for_status()
        found: list[dict[str, dict[str, list[str]]]] = answer.json()
        return found

    def milliseconds(path: str) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            ask(path)
            times.append(1000 * (time.perf_counter() - start))
        return statistics.median(times)

    study = ask("/studies")[0]["0020000D"]["Value"][0]
    series = ask(f"/studies/{study}/series")[0]["0020000E"]["Value"][0]
    path = f"/studies/{study}/series/{series}"
    instances = [i["00080018"]["Value"][0] for i in ask(f"{path}/metadata")]

    def frame(uid: str) -> int:
        accept = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
        answer = session.get(f"{root}{path}/instances/{uid}/frames/1", headers=accept, timeout=120)
        answer.raise_for_status()
        return len(answer.content)

    with ThreadPoolExecutor(6) as pool:
        start = time.perf_counter()
        list(pool.map(frame, instances))
        rate = len(instances) / (time.perf_counter() - start)
    return {
        "study list": milliseconds("/studies"),
        "series metadata": milliseconds(f"{path}/metadata"),
        "frames, 6 connections": rate,
    }


if __name__ == "__main__":
    main()
