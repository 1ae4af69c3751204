"""From the UIDs of a path to what is kept, for one caller: who may not see a resource is told it does not exist.

Every look is recorded: ``study.view`` once per user and study in ten minutes, before anything is sent. The note of what
was recorded lately is kept in this process only, so another process records the same look once more.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from flask import request, url_for
from sqlalchemy import select
from sqlalchemy.orm import contains_eager

from config.errors import NotFound
from storage.access import scope_for, studies_within
from storage.archive import Archive, Entry
from storage.audit import Audit
from storage.index import series_order
from storage.schema import Series, Study, User
from viewer.auth import caller
from viewer.services import Services

AUDIT_INTERVAL = 600.0
"""Seconds in which further looks of one user at one study are the same look."""

_UID = re.compile(r"[0-9.]{1,64}")


class Views:
    """Which looks were recorded lately."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._recorded: dict[tuple[int, str], float] = {}
        self._lock = threading.Lock()

    def record(self, user: User, study_uid: str, origin: str) -> None:
        """Record a look, unless that was done lately."""
        key = (user.id, study_uid)
        if time.monotonic() - self._recorded.get(key, -AUDIT_INTERVAL) < AUDIT_INTERVAL:
            return
        with self._lock:  # nobody passes before the line is written
            now = time.monotonic()
            if now - self._recorded.get(key, -AUDIT_INTERVAL) < AUDIT_INTERVAL:
                return
            self._audit.record(
                "study.view", actor=f"user:{user.login}", subject=f"study:{study_uid}", origin=origin
            )
            if len(self._recorded) > 10_000:
                self._recorded = {k: at for k, at in self._recorded.items() if now - at < AUDIT_INTERVAL}
            self._recorded[key] = now


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance and where it belongs."""

    study_uid: str
    series_uid: str
    entry: Entry

    @property
    def path(self) -> str:
        """Absolute path of the resource, as links in answers name it."""
        return instance_path(self.study_uid, self.series_uid, self.entry.sop_instance_uid)


def root() -> str:
    """Absolute path of the DICOMweb service, as the caller reaches it."""
    return str(url_for("dicomweb.search_studies")).removesuffix("/studies")


def study_path(study: str) -> str:
    return f"{root()}/studies/{study}"


def series_path(study: str, series: str) -> str:
    return f"{study_path(study)}/series/{series}"


def instance_path(study: str, series: str, instance: str) -> str:
    return f"{series_path(study, series)}/instances/{instance}"


class Resources:
    """What one application serves."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._views = Views(services.storage.audit)

    @property
    def archive(self) -> Archive:
        return self.services.storage.archive

    def study(self, study: str) -> Study:
        """A study the caller may see; the look is recorded.

        Raises
        ------
        NotFound
            If there is none, or none for this caller.
        """
        query = select(Study).where(
            Study.study_instance_uid == _checked(study), studies_within(scope_for(caller()))
        )
        with self.services.storage.database.read() as session:
            found = session.scalar(query)
        if found is None:
            raise NotFound("no such study")
        self._record(study)
        return found

    def series_of(self, study: str) -> list[Series]:
        """The series of a study the caller may see, in order; the look is recorded."""
        return sorted(self._series(study), key=series_order)

    def series(self, study: str, series: str) -> Series:
        """A series the caller may see; the look is recorded."""
        found = self._series(study, _checked(series))
        return found[0]

    def _series(self, study: str, series: str | None = None) -> Sequence[Series]:
        query = (
            select(Series)
            .join(Series.study)
            .where(Study.study_instance_uid == _checked(study), Series.visible)
            .where(studies_within(scope_for(caller())))
            .options(contains_eager(Series.study))
        )
        if series is not None:
            query = query.where(Series.series_instance_uid == series)
        with self.services.storage.database.read() as session:
            found = session.scalars(query).all()
        if not found:
            raise NotFound("no such study" if series is None else "no such series")
        self._record(study)
        return found

    def instances(self, study: str, series: str | None = None, instance: str | None = None) -> list[Instance]:
        """The instances of a study, of a series, or the one named, in slice order.

        Raises
        ------
        NotFound
            If there are none, or none for this caller.
        """
        if series is not None and instance is not None:
            return [self.instance(study, series, instance)]
        rows = self.series_of(study) if series is None else [self.series(study, series)]
        found = [
            Instance(study, row.series_instance_uid, entry)
            for row in rows
            for entry in self.archive.entries(row.series_instance_uid)
        ]
        if not found:
            raise NotFound("no such instance")
        return found

    def instance(self, study: str, series: str, instance: str) -> Instance:
        """One instance; raises `NotFound` as above."""
        self.series(study, series)
        return Instance(study, series, self.archive.entry(series, _checked(instance)))

    def _record(self, study: str) -> None:
        self._views.record(caller(), study, request.remote_addr or "")


def _checked(uid: str) -> str:
    if not _UID.fullmatch(uid):
        raise NotFound("no such resource: a UID has digits and dots, at most 64 (PS3.5 9.1)")
    return uid
