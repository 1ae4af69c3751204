"""Scripts, styles and decoders: addresses that change with their content, and bytes that fit a bad line.

The viewer's scripts are 3.5 MB, packed 1 MB: on a district hospital's line that is the better part of a minute. The
front end's build lays a `.gz` beside every file that gains by it; our own few files are compressed once, in memory.
Only static files are: a page holds a secret (its CSRF token) beside words somebody else may have chosen, and the length
of such a page, compressed, can tell the secret (BREACH).
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from functools import lru_cache
from pathlib import Path

from flask import Flask, Response, make_response, request, send_from_directory, url_for
from werkzeug.utils import safe_join

from viewer.auth import public

FOR_EVER = 31536000
"""Seconds browsers keep what never changes."""

_TEXT = frozenset({".css", ".js", ".svg"})
_SMALL = 1 << 18

mimetypes.add_type("text/javascript", ".js")  # machines disagree, and a module of another type is not run
mimetypes.add_type("application/wasm", ".wasm")


@lru_cache(maxsize=32)
def _compressed(path: Path, _modified: int) -> bytes:
    return gzip.compress(path.read_bytes(), mtime=0)


def _gzipped(folder: str, filename: str) -> Response | None:
    """The compressed form, where there is one and the browser takes it."""
    if request.accept_encodings.quality("gzip") <= 0 or filename.endswith(".gz"):
        return None
    place = safe_join(folder, filename)
    path = Path(place) if place is not None else None
    if path is None or not path.is_file():
        return None
    ready = path.with_name(f"{path.name}.gz")
    if ready.is_file() and ready.stat().st_mtime >= path.stat().st_mtime:
        response = send_from_directory(folder, f"{filename}.gz")
    elif path.suffix in _TEXT and path.stat().st_size < _SMALL:
        data = _compressed(path, path.stat().st_mtime_ns)
        response = make_response(data)
        response.set_etag(hashlib.sha256(data).hexdigest()[:32])
        response.cache_control.no_cache = True
        response.make_conditional(request)
    else:
        return None
    response.content_type = _type_of(filename)
    response.headers["Content-Encoding"] = "gzip"
    return response


def _type_of(filename: str) -> str:
    kind = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def init_app(app: Flask) -> None:
    """Serve static files, and give templates `asset(name)`: the address of one with a digest in it."""
    assert app.static_folder is not None
    folder = app.static_folder
    digests: dict[str, str] = {}

    def static(filename: str) -> Response:
        response = _gzipped(folder, filename) or app.send_static_file(filename)
        response.vary.add("Accept-Encoding")
        # Addresses with a digest in them never change their content; the others are asked for again (ETag).
        if "v" in request.args or filename.startswith("dist/assets/"):
            response.cache_control.no_cache = None
            response.cache_control.public = True
            response.cache_control.max_age = FOR_EVER
            response.cache_control.immutable = True
        return response

    app.view_functions["static"] = public(static)

    def asset(name: str) -> str:
        if name not in digests:
            digests[name] = hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest()[:12]
        return url_for("static", filename=name, v=digests[name])

    app.jinja_env.globals["asset"] = asset
