"""Static files: packed for who takes it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from flask import Flask

from viewer import assets

SCRIPT = b"export const answer = 42;\n" * 50


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    made = tmp_path / "static" / "dist" / "assets"
    made.mkdir(parents=True)
    for path in (tmp_path / "static" / "dist" / "viewer.js", made / "worker-1a2b.js"):
        path.write_bytes(SCRIPT)
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(SCRIPT))
    (tmp_path / "secret.gz").write_bytes(b"secret")
    app = Flask("assets", root_path=str(tmp_path), static_folder="static")
    assets.init_app(app)
    return app


def test_packed_for_who_takes_it(app: Flask) -> None:
    answer = app.test_client().get(
        "/static/dist/viewer.js", headers={"Accept-Encoding": "gzip, br"}, buffered=True
    )
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert gzip.decompress(answer.data) == SCRIPT


@pytest.mark.parametrize("accepted", [None, "identity", "gzip;q=0"])
def test_plain_for_who_does_not(app: Flask, accepted: str | None) -> None:
    headers = {"Accept-Encoding": accepted} if accepted else {}
    answer = app.test_client().get("/static/dist/viewer.js", headers=headers, buffered=True)
    assert "Content-Encoding" not in answer.headers
    assert answer.data == SCRIPT


def test_nothing_outside_is_reached(app: Flask) -> None:
    answer = app.test_client().get("/static/../secret", headers={"Accept-Encoding": "gzip"}, buffered=True)
    assert answer.status_code == 404


def test_asked_again_it_is_not_sent_again(app: Flask) -> None:
    client = app.test_client()
    headers = {"Accept-Encoding": "gzip"}
    first = client.get("/static/dist/viewer.js", headers=headers, buffered=True)
    again = client.get(
        "/static/dist/viewer.js", headers=headers | {"If-None-Match": first.headers["ETag"]}, buffered=True
    )
    assert again.status_code == 304
