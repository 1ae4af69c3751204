"""Is this node alive, is it ready, and what do its numbers say: `/healthz`, `/readyz`, `/metrics`.

`/healthz` answers as long as the process can. `/readyz` asks every store. What is wrong, and the metrics, are shown
only to this machine or to an administrator's token: they tell how busy a hospital is. No label holds anything of a
patient.
"""

from __future__ import annotations

import ipaddress
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog
from flask import Blueprint, Flask, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

import config
from config.errors import ConsiliumError, Forbidden, StorageFull
from storage.database import Database
from storage.schema import Consultation, Instance, OutboxItem, Pack, QuarantineItem, Series, Study, now
from storage.transitions import OPEN
from viewer.auth import caller_or_none, public
from viewer.services import Services, services

log = structlog.get_logger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing this node needs, and whether it has it."""

    name: str
    good: bool
    detail: str = ""


def checks(web: Services) -> list[Check]:
    """Ask every store this node needs."""
    storage = web.storage
    return [
        _check("database", storage.database.ping),
        _check("objects", storage.objects.ping),
        _check("disk", lambda: _reserve(web)),
    ]


def _reserve(web: Services) -> None:
    if shutil.disk_usage(web.settings.home).free < web.settings.disk_reserve:
        raise StorageFull("free space is below the reserve; nothing more is accepted")


def _check(name: str, ask: Callable[[], object]) -> Check:
    try:
        ask()
    except ConsiliumError as error:
        return Check(name, False, str(error))
    except Exception as error:  # a store's own exception: it is down all the same
        log.warning("readiness.failed", kind=name, error=error)
        return Check(name, False, type(error).__name__)
    return Check(name, True)


def facts(database: Database) -> Mapping[str, int]:
    """What the index counts: the numbers of `/metrics` and of the administrator's first page."""
    counts = {
        "studies": select(func.count()).select_from(Study),
        "series_unsealed": select(func.count()).select_from(Series).where(Series.sealed.is_(False)),
        "instances_pending": select(func.count()).select_from(Instance),
        "packs": select(func.count()).select_from(Pack),
        "quarantine_held": select(func.count())
        .select_from(QuarantineItem)
        .where(QuarantineItem.state == "held"),
        "consultations_open": select(func.count())
        .select_from(Consultation)
        .where(Consultation.state.in_(OPEN)),
        "consultations_overdue": select(func.count())
        .select_from(Consultation)
        .where(Consultation.state.in_(OPEN), Consultation.due_at < now()),
        "outbox_pending": select(func.count()).select_from(OutboxItem).where(OutboxItem.state == "pending"),
        "outbox_refused": select(func.count()).select_from(OutboxItem).where(OutboxItem.state == "refused"),
    }
    with database.read() as session:
        return {name: session.scalar(query) or 0 for name, query in counts.items()}


HELP = {
    "studies": "Studies in the index",
    "series_unsealed": "Series with instances not sealed yet",
    "instances_pending": "Instances received and not sealed yet",
    "packs": "Packs in the object store",
    "quarantine_held": "Objects in quarantine waiting for a person",
    "consultations_open": "Consultations somebody still owes an answer to",
    "consultations_overdue": "Open consultations past their deadline",
    "outbox_pending": "Deliveries waiting for their next attempt",
    "outbox_refused": "Deliveries put aside for a person",
}


class StateCollector(Collector):
    """Reads the index when it is scraped, so every node reports the same truth."""

    def __init__(self, web: Services) -> None:
        self._web = web

    def collect(self) -> Iterable[Metric]:
        for name, value in facts(self._web.storage.database).items():
            yield GaugeMetricFamily(f"consilium_{name}", HELP[name], value=value)
        free = shutil.disk_usage(self._web.settings.home).free
        yield GaugeMetricFamily(
            "consilium_disk_free_bytes", "Free space where this node keeps its files", value=free
        )
        yield GaugeMetricFamily(
            "consilium_disk_reserve_bytes",
            "Free space below which nothing more is accepted",
            value=self._web.settings.disk_reserve,
        )
        build = GaugeMetricFamily("consilium_build", "Version of this node", labels=["version"])
        build.add_metric([config.__version__], 1)
        yield build


def may_look() -> bool:
    """Whether this caller may see details: this machine (and no proxy's client), or an administrator."""
    user = caller_or_none()
    if user is not None:
        return user.role == "administrator"
    proxied = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    try:
        return not proxied and ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


def init_app(app: Flask, web: Services) -> None:
    """Count requests and add the three addresses."""
    registry = CollectorRegistry()
    requests = Counter(
        "consilium_http_requests",
        "Answered HTTP requests",
        ["endpoint", "method", "status"],
        registry=registry,
    )
    seconds = Histogram(
        "consilium_http_request_seconds",
        "Time until an answer began, in seconds",
        ["endpoint"],
        registry=registry,
        buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    )
    registry.register(StateCollector(web))

    @app.after_request
    def count(response: Response) -> Response:
        endpoint = request.endpoint or "none"  # our own names; an address may hold anything
        method = (
            request.method
            if request.method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
            else "other"
        )
        requests.labels(endpoint, method, str(response.status_code)).inc()
        started = g.get("started")
        if started is not None:
            seconds.labels(endpoint).observe(time.monotonic() - started)
        return response

    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    @public
    def healthz() -> ResponseReturnValue:
        return Response("ok\n", mimetype="text/plain")

    @blueprint.get("/readyz")
    @public
    def readyz() -> ResponseReturnValue:
        found = checks(services())
        ready = all(check.good for check in found)
        body: dict[str, object] = {"ready": ready}
        if may_look():
            body["checks"] = {check.name: check.detail or "ok" for check in found}
        return jsonify(body), 200 if ready else 503

    @blueprint.get("/metrics")
    @public
    def metrics() -> ResponseReturnValue:
        if not may_look():
            raise Forbidden("metrics are for this machine and for administrators")
        return Response(generate_latest(registry), content_type=CONTENT_TYPE)

    app.register_blueprint(blueprint)
