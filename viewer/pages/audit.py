"""The auditor's page: searching the trail, proving it whole, taking it along."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue

from storage.audit import Audit
from storage.schema import AuditEvent
from viewer.auth import actor, origin, roles
from viewer.paging import Page
from viewer.services import services

blueprint = Blueprint("audit", __name__, url_prefix="/audit")

PER_PAGE = 100
COLUMNS = ("seq", "at", "actor", "action", "outcome", "subject", "origin", "details", "previous_hash", "hash")


def _filters() -> dict[str, Any]:
    """The search of this request: texts, and whole days in UTC."""
    found: dict[str, Any] = {
        name: request.args.get(name, "").strip()[:120] for name in ("actor", "action", "subject", "outcome")
    }
    if found["outcome"] not in ("", "success", "failure"):
        found["outcome"] = ""
    found["since"] = _day(request.args.get("since", ""))
    until = _day(request.args.get("until", ""))
    found["until"] = until + timedelta(days=1) if until is not None else None
    return found


def _day(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


@blueprint.get("")
@roles("auditor")
def trail() -> ResponseReturnValue:
    page, audit = Page.of_request(PER_PAGE), services().storage.audit
    filters = _filters()
    _looked("audit.search", filters)
    rows, total = audit.search(**filters, limit=page.size, offset=page.offset)
    return render_template("audit.html", rows=rows, page=page.with_total(total), result=None)


@blueprint.post("/verify")
@roles("auditor")
def verify() -> ResponseReturnValue:
    audit = services().storage.audit
    result = audit.verify()
    audit.record(
        "audit.verify",
        actor=actor(),
        origin=origin(),
        outcome="success" if result.intact else "failure",
        details={"events": result.events},
    )
    page = Page(1, PER_PAGE)
    rows, total = audit.search(limit=page.size)
    return render_template("audit.html", rows=rows, page=page.with_total(total), result=result)


@blueprint.get("/export.<any(csv, json):form>")
@roles("auditor")
def export(form: str) -> ResponseReturnValue:
    """Every line of the present search, newest first, as a stream."""
    filters = _filters()
    _looked("audit.export", filters | {"format": form})
    events = _all(services().storage.audit, filters)
    lines = _csv(events) if form == "csv" else _json(events)
    response = Response(lines, mimetype="text/csv" if form == "csv" else "application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="audit.{form}"'
    return response


def _looked(action: str, filters: dict[str, Any]) -> None:
    given = {name: str(value) for name, value in filters.items() if value}
    services().storage.audit.record(action, actor=actor(), origin=origin(), details=given)


def _all(audit: Audit, filters: dict[str, Any]) -> Iterator[AuditEvent]:
    offset = 0
    # Newer lines would shift the offsets: what is exported ends now.
    fixed = filters | {"until": min(filters["until"] or datetime.max.replace(tzinfo=UTC), datetime.now(UTC))}
    while True:
        rows, total = audit.search(**fixed, limit=1000, offset=offset)
        yield from rows
        offset += len(rows)
        if not rows or offset >= total:
            return


def _plain(event: AuditEvent) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(event, name) for name in COLUMNS}
    row["at"] = event.at.astimezone(UTC).isoformat(timespec="microseconds")
    return row


def _csv(events: Iterator[AuditEvent]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for event in events:
        row = _plain(event) | {"details": json.dumps(event.details, ensure_ascii=False, sort_keys=True)}
        writer.writerow([_harmless(str(row[name])) for name in COLUMNS])
        if buffer.tell() > 1 << 15:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _harmless(cell: str) -> str:
    """A cell no spreadsheet takes for a formula (CWE-1236)."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _json(events: Iterator[AuditEvent]) -> Iterator[str]:
    yield "["
    for number, event in enumerate(events):
        yield (",\n" if number else "\n") + json.dumps(_plain(event), ensure_ascii=False)
    yield "\n]\n"
