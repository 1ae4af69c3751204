"""JSON Schemas (2020-12) of what the API takes and gives; part of the OpenAPI document, and enforced."""

from __future__ import annotations

from typing import Any

from config.specialties import SPECIALTIES, URGENCIES
from storage.annotations import POINTS
from storage.consultations import MAX_TEXT
from storage.opinions import MAX_SECTION
from storage.people import ROLES
from storage.transitions import State

UID = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)*$", "maxLength": 64}
MOMENT = {"type": "string", "format": "date-time"}
TEXT = {"type": "string", "maxLength": MAX_TEXT}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(required: str = "", *, closed: bool = False, **properties: Any) -> dict[str, Any]:
    """An object; `required` names its required properties, all of them if it is ``*``."""
    names = list(properties) if required == "*" else required.split()
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if names:
        found["required"] = names
    if closed:
        found["additionalProperties"] = False
    return found


def _points(dimensions: int) -> dict[str, Any]:
    coordinate = {"type": "number"}
    point = {"type": "array", "items": coordinate, "minItems": dimensions, "maxItems": dimensions}
    return {"type": "array", "items": point, "minItems": 1, "maxItems": 8}


_STRING = {"type": "string"}
_PERSON = _object("*", login=_STRING, name=_STRING)
_PLACE = _object("*", code=_STRING, name=_STRING)

_MARK: dict[str, Any] = {
    "uid": _STRING,
    "tool": {"type": "string", "enum": list(POINTS)},
    "label": _or_null({"type": "string", "maxLength": 200}),
    "series_instance_uid": UID,
    "sop_instance_uid": UID,
    "frame": {"type": "integer", "minimum": 1},
    "frame_of_reference_uid": _or_null(_STRING),
    "points_world": _or_null(_points(3)),
    "points_image": _points(2),
    "measurements": {
        "type": "object",
        "additionalProperties": _object("*", value={"type": "number"}, unit=_STRING),
    },
    "backend": {"type": "string", "enum": ["gpu", "cpu"]},
    "state": {"type": "object"},
}

SCHEMAS: dict[str, Any] = {
    "Error": _object(
        "*",
        error=_object("*", code=_STRING, message=_STRING, detail={"type": "object"}),
    ),
    "Me": _object(
        "*",
        login=_STRING,
        name=_STRING,
        role={"type": "string", "enum": list(ROLES)},
        language=_STRING,
        site=_or_null(_PLACE),
        centre=_or_null(_PLACE),
    ),
    "Study": _object(
        "*",
        study_instance_uid=UID,
        patient=_object("*", id=_STRING, name=_STRING, sex=_STRING, age=_STRING),
        study_date=_STRING,
        description=_STRING,
        modalities={"type": "array", "items": _STRING},
        series={"type": "integer"},
        instances={"type": "integer"},
    ),
    "Message": _object(
        "*",
        kind={"type": "string", "enum": ["question", "answer", "reason"]},
        text=_STRING,
        author=_or_null(_PERSON),
        at=MOMENT,
    ),
    "Consultation": _object(
        "*",
        id=_STRING,
        state={"type": "string", "enum": [str(state) for state in State]},
        urgency={"type": "string", "enum": list(URGENCIES)},
        specialty={"type": "string", "enum": list(SPECIALTIES)},
        question=_STRING,
        site=_PLACE,
        centre=_or_null(_PLACE),
        study={"$ref": "#/components/schemas/Study"},
        requester=_or_null(_PERSON),
        assignee=_or_null(_PERSON),
        requested_at=MOMENT,
        due_at=MOMENT,
        accepted_at=_or_null(MOMENT),
        signed_at=_or_null(MOMENT),
        closed_at=_or_null(MOMENT),
        revision={"type": "integer"},
        actions={"type": "array", "items": _STRING, "description": "What the caller may do with it now"},
        messages={"type": "array", "items": {"$ref": "#/components/schemas/Message"}},
    ),
    "Consultations": _object(
        "*",
        consultations={"type": "array", "items": {"$ref": "#/components/schemas/Consultation"}},
        total={"type": "integer"},
        limit={"type": "integer"},
        offset={"type": "integer"},
    ),
    "Request": _object(
        "study_uid specialty urgency",
        closed=True,
        study_uid=UID,
        specialty={"type": "string", "enum": list(SPECIALTIES)},
        urgency={"type": "string", "enum": list(URGENCIES)},
        question=TEXT,
        centre=_or_null({"type": "string", "maxLength": 32}),
    ),
    "Text": _object("text", closed=True, text={**TEXT, "minLength": 1}),
    "Nothing": _object(closed=True),
    "Assignment": _object(
        closed=True,
        assignee=_or_null({"type": "string", "maxLength": 64}),
        centre=_or_null({"type": "string", "maxLength": 32}),
    ),
    "Draft": _object(
        "revision findings conclusion recommendations",
        closed=True,
        revision={
            "type": "integer",
            "minimum": 0,
            "description": "The one this text was written over; 0 at first",
        },
        findings={"type": "string", "maxLength": MAX_SECTION},
        conclusion={"type": "string", "maxLength": MAX_SECTION},
        recommendations={"type": "string", "maxLength": MAX_SECTION},
    ),
    "Opinion": _object(
        "*",
        revision={"type": "integer"},
        findings=_STRING,
        conclusion=_STRING,
        recommendations=_STRING,
        updated_at=_or_null(MOMENT),
        signed_at=_or_null(MOMENT),
        author=_or_null(_PERSON),
        content_sha256=_STRING,
    ),
    "Signature": _object(
        "revision password",
        closed=True,
        revision={"type": "integer", "minimum": 1},
        password={"type": "string", "maxLength": 1000, "description": "The signer's password, asked again"},
    ),
    "AnnotationInput": _object(
        "tool series_instance_uid sop_instance_uid points_image",
        **_MARK,
        revision=_or_null(
            {"type": "integer", "description": "Of the annotation replaced; null for a new one"}
        ),
    ),
    "Annotation": _object(
        "*",
        **_MARK,
        revision={"type": "integer"},
        author=_STRING,
        author_name=_STRING,
        mine={"type": "boolean"},
        updated_at=MOMENT,
    ),
    "Annotations": _object(
        "*", annotations={"type": "array", "items": {"$ref": "#/components/schemas/Annotation"}}
    ),
}
