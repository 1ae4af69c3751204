"""Search Transaction: QIDO-RS (PS3.18 10.6)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from flask import Response, request

from storage.access import scope_for
from storage.qido import instance_matcher
from storage.schema import Series
from viewer.auth import actor, caller, origin
from viewer.dicomweb import datasets
from viewer.dicomweb.accept import accepted
from viewer.dicomweb.negotiation import DICOM_JSON, Offer, choose
from viewer.dicomweb.query import INSTANCE, SERIES, STUDY, Query, parse
from viewer.dicomweb.resources import Resources, instance_path, root, series_path, study_path
from viewer.rendering.attributes import text

JSON_OFFERS = (Offer(DICOM_JSON), Offer("application/json"))

MOST_SERIES = 2000
"""Series looked into for one search of instances; beyond, the answer says that it is not complete."""

Json = dict[str, Any]


class Search:
    """The search routes of one application."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._index = resources.services.storage.index
        self._archive = resources.archive
        self._audit = resources.services.storage.audit

    def studies(self) -> Response:
        query = parse(request.args, STUDY)

        def find(limit: int, offset: int) -> list[Json]:
            rows = self._index.search_studies(query.at(STUDY), scope_for(caller()), limit, offset)
            return [datasets.study(row, study_path(row.study_instance_uid), query) for row in rows]

        return self._answer("studies", query, find)

    def series(self, study: str | None = None) -> Response:
        if study is not None:
            self._resources.study(study)
        query = parse(request.args, *((SERIES,) if study else (STUDY, SERIES)))

        def find(limit: int, offset: int) -> list[Json]:
            rows = self._series(query, study, None, limit, offset)
            return [self._series_result(row, query, with_study=study is None) for row in rows]

        return self._answer("series", query, find, within_study=study is not None)

    def instances(self, study: str | None = None, series: str | None = None) -> Response:
        if study is not None and series is None:
            self._resources.study(study)
        elif study is not None and series is not None:
            self._resources.series(study, series)
        levels = (INSTANCE,) if series else (SERIES, INSTANCE) if study else (STUDY, SERIES, INSTANCE)
        query = parse(request.args, *levels)
        partial: list[bool] = []

        def find(limit: int, offset: int) -> list[Json]:
            rows = self._series(query, study, series, MOST_SERIES + 1, 0)
            partial.extend([True] * (len(rows) > MOST_SERIES))
            return list(
                islice(self._instances(rows[:MOST_SERIES], query, study is None), offset, offset + limit)
            )

        response = self._answer("instances", query, find, within_study=study is not None)
        if partial:
            _warn(response, "The search was limited; give a Study Instance UID for a complete answer")
        return response

    def _series(
        self, query: Query, study: str | None, series: str | None, limit: int, offset: int
    ) -> Sequence[Series]:
        filters = query.at(STUDY, SERIES)
        if study is not None:
            filters["StudyInstanceUID"] = [study]
        if series is not None:
            filters["SeriesInstanceUID"] = [series]
        return self._index.search_series(filters, scope_for(caller()), limit, offset)

    @staticmethod
    def _series_result(row: Series, query: Query, *, with_study: bool) -> Json:
        study_uid = row.study.study_instance_uid
        found = datasets.series(row, series_path(study_uid, row.series_instance_uid), query)
        if with_study:  # a relational search names the study of each result (PS3.18 10.6.3.3.2)
            found = dict(sorted({**datasets.study(row.study, study_path(study_uid), query), **found}.items()))
        return found

    def _instances(self, rows: Sequence[Series], query: Query, with_study: bool) -> Any:
        matches = instance_matcher(query.at(INSTANCE))
        for row in rows:
            study_uid, series_uid = row.study.study_instance_uid, row.series_instance_uid
            above: Json | None = None
            for entry in self._archive.entries(series_uid):
                values = {
                    "SOPInstanceUID": entry.sop_instance_uid,
                    "SOPClassUID": entry.sop_class_uid,
                    "InstanceNumber": text(entry.metadata, "InstanceNumber"),
                }
                if not matches(values):
                    continue
                url = instance_path(study_uid, series_uid, entry.sop_instance_uid)
                found = datasets.instance(entry.metadata, entry.transfer_syntax_uid, url, query)
                if with_study:
                    if above is None:
                        above = self._series_result(row, query, with_study=True)
                    found = dict(sorted({**above, **found}.items()))
                yield found

    def _answer(
        self,
        what: str,
        query: Query,
        find: Callable[[int, int], list[Json]],
        *,
        within_study: bool = False,
    ) -> Response:
        offer = choose(accepted(), JSON_OFFERS)
        # One more than asked for tells whether there is more.
        found = [] if query.impossible else find(query.limit + 1, query.offset)
        more = len(found) > query.limit
        found = found[: query.limit]
        if not within_study:  # a search inside one study is a look at that study and recorded as such
            self._audit.record(
                "study.search",
                actor=actor(),
                origin=origin(),
                details={"level": what, "keys": list(query.keys), "results": len(found)},
            )
        response = Response(
            json.dumps(found, ensure_ascii=False, separators=(",", ":")), content_type=offer.media_type
        )
        response.headers["Cache-Control"] = "no-store"
        if more:
            _warn(response, "There are additional results that can be requested with offset")
        if query.fuzzy:
            _warn(
                response,
                "The fuzzymatching parameter is not supported. Only literal matching has been performed.",
            )
        return response


def _warn(response: Response, words: str) -> None:
    """PS3.18 8.3.4.2, 10.6.3.2: 299, the service that says so, and why."""
    response.headers.add("Warning", f'299 {root()} "{words}"')
