"""Is this node alive, is it ready, and what do its numbers say: `/healthz`, `/readyz`, `/metrics`.

`/healthz` answers as long as the process can. `/readyz` asks every store. What is wrong, and the metrics, are shown
only to this machine or to an administrator's token: they tell how busy a hospital is. No label holds anything of a
patient.
"""

from __future__ import annotations

import ipaddress
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog
from flask import Blueprint, Flask, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import config
from config.errors import ConsiliumError, Forbidden, StorageFull
from config.specialties import URGENCIES
from storage.condition import look
from storage.transitions import State
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


_GAUGES = {
    "studies": "Studies in the index",
    "series": "Series in the index",
    "sealed_series": "Series of which no instance waits to be sealed",
    "sealed_instances": "Instances in packs",
    "pending_instances": "Instances received and not sealed yet",
    "pending_bytes": "Their size",
    "pending_seconds": "Age of the oldest of them",
    "packs": "Packs in the object store",
    "packs_bytes": "Their size",
    "untrusted_packs": "Packs whose spool files are still kept",
    "quarantined": "Objects in quarantine waiting for a person",
    "outbox_seconds": "How long the oldest delivery still owed has been waiting",
    "disk_free": "Bytes free where this node keeps its files",
    "disk_reserve": "Free bytes below which nothing more is accepted",
}
_GAUGES_BY = {
    "outbox": ("state", ("pending", "delivered", "refused"), "Deliveries of opinions"),
    "consultations": ("state", tuple(str(state) for state in State), "Consultations"),
    "overdue": ("urgency", URGENCIES, "Open consultations past their deadline"),
}


class StateCollector(Collector):
    """Reads the index when it is scraped, so every node reports the same truth."""

    def __init__(self, web: Services) -> None:
        self._web = web

    def collect(self) -> Iterable[Metric]:
        found = look(self._web.storage.database, self._web.settings)
        for name, described in _GAUGES.items():
            yield GaugeMetricFamily(f"consilium_{name}", described, value=getattr(found, name))
        for name, (label, values, described) in _GAUGES_BY.items():
            family = GaugeMetricFamily(f"consilium_{name}", described, labels=[label])
            counts = getattr(found, name)
            for value in values:
                family.add_metric([value], counts.get(value, 0))
            yield family
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
