"""The media types a request accepts: its Accept header, or the `accept` query parameter (PS3.18 8.3.3.1)."""

from __future__ import annotations

from flask import request


def accepted() -> str:
    """The parameter counts before the header: a link in a page can set one and not the other."""
    return request.args.get("accept") or request.headers.get("Accept", "")
