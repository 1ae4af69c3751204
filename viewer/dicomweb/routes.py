"""Every DICOMweb resource and who may ask for it: the URI templates of PS3.18 10.4.1, 10.5.1 and 10.6.1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint

from viewer.auth import roles
from viewer.dicomweb.rendered import Rendered
from viewer.dicomweb.resources import Resources
from viewer.dicomweb.retrieve import Retrieve
from viewer.dicomweb.search import Search
from viewer.dicomweb.store import Store
from viewer.services import Services

READERS = ("referrer", "consultant", "coordinator")
"""Who has studies to see; which ones, `viewer.dicomweb.resources` asks the storage."""

SENDERS = ("referrer",)

STUDY = "/studies/<study>"
SERIES = f"{STUDY}/series/<series>"
INSTANCE = f"{SERIES}/instances/<instance>"
FRAMES = f"{INSTANCE}/frames/<frames>"

View = Callable[..., Any]


def create_blueprint(services: Services) -> Blueprint:
    """The DICOMweb service, to be registered by the application factory."""
    resources = Resources(services)
    search, retrieve, rendered, store = (
        Search(resources),
        Retrieve(resources),
        Rendered(resources),
        Store(resources),
    )
    blueprint = Blueprint("dicomweb", __name__, url_prefix="/dicom-web")

    table: tuple[tuple[str, str, View], ...] = (
        ("/studies", "search_studies", search.studies),
        ("/series", "search_series", search.series),
        ("/instances", "search_instances", search.instances),
        (f"{STUDY}/series", "search_study_series", search.series),
        (f"{STUDY}/instances", "search_study_instances", search.instances),
        (f"{SERIES}/instances", "search_series_instances", search.instances),
        (STUDY, "retrieve_study", retrieve.instances),
        (SERIES, "retrieve_series", retrieve.instances),
        (INSTANCE, "retrieve_instance", retrieve.instances),
        (f"{STUDY}/metadata", "study_metadata", retrieve.metadata),
        (f"{SERIES}/metadata", "series_metadata", retrieve.metadata),
        (f"{INSTANCE}/metadata", "instance_metadata", retrieve.metadata),
        (FRAMES, "retrieve_frames", retrieve.frames),
        (f"{INSTANCE}/bulkdata/<path:path>", "retrieve_bulkdata", retrieve.bulkdata),
        (f"{STUDY}/rendered", "study_rendered", rendered.resource),
        (f"{SERIES}/rendered", "series_rendered", rendered.resource),
        (f"{INSTANCE}/rendered", "instance_rendered", rendered.resource),
        (f"{FRAMES}/rendered", "frames_rendered", rendered.frames),
        (f"{STUDY}/thumbnail", "study_thumbnail", rendered.thumbnail),
        (f"{SERIES}/thumbnail", "series_thumbnail", rendered.thumbnail),
        (f"{INSTANCE}/thumbnail", "instance_thumbnail", rendered.thumbnail),
        (f"{FRAMES}/thumbnail", "frames_thumbnail", rendered.thumbnail),
    )
    for rule, endpoint, view in table:
        blueprint.add_url_rule(rule, endpoint, _declared(view, READERS), methods=["GET"])
    for rule, endpoint in (("/studies", "store"), (STUDY, "store_study")):
        blueprint.add_url_rule(rule, endpoint, _declared(store.instances, SENDERS), methods=["POST"])
    return blueprint


def _declared(view: View, names: tuple[str, ...]) -> View:
    """The view with its access declaration; a function, because a bound method cannot carry one."""

    def answer(**arguments: str) -> Any:
        return view(**arguments)

    return roles(*names)(answer)
