"""Consultations, opinions and annotations over HTTP; the rules are those of `storage`."""

from __future__ import annotations

from typing import Any

from flask import request

from config.errors import Invalid
from config.specialties import SPECIALTIES, URGENCIES
from storage.schema import Centre, Site
from viewer import queries, throttle
from viewer.api import shapes
from viewer.api.registry import Api
from viewer.auth import caller, origin
from viewer.errors import WrongPassword
from viewer.services import Services

CLINICAL = ("referrer", "consultant", "coordinator")
CENTRE = ("consultant", "coordinator")
LIMIT = 50
MOST = 200


def register(api: Api, web: Services) -> None:
    """Declare the operations."""
    _about_me(api, web)
    _listing(api, web)
    _changes(api, web)
    _opinions(api, web)
    _annotations(api, web)


def _about_me(api: Api, web: Services) -> None:
    @api.operation("GET", "/me", "Who the caller is", answer="Me")
    def me() -> dict[str, Any]:
        user = caller()
        with web.storage.database.read() as session:
            site = session.get(Site, user.site_id) if user.site_id is not None else None
            centre = session.get(Centre, user.centre_id) if user.centre_id is not None else None
        return {
            "login": user.login,
            "name": user.full_name,
            "role": user.role,
            "language": user.language or web.settings.language,
            "site": shapes.place(site),
            "centre": shapes.place(centre),
        }


def _listing(api: Api, web: Services) -> None:
    consultations = web.storage.consultations

    @api.operation(
        "GET",
        "/consultations",
        "The caller's worklist, emergencies first, then by deadline",
        roles_=CLINICAL,
        answer="Consultations",
        errors=["400"],
        query={
            "state": {"type": "string", "description": "One or several states, separated by commas"},
            "urgency": {"type": "string", "enum": list(URGENCIES)},
            "specialty": {"type": "string", "enum": list(SPECIALTIES)},
            "mine": {"type": "boolean", "default": False},
            "text": {"type": "string", "description": "Part of a pseudonym, a description or a question"},
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT},
            "offset": {"type": "integer", "minimum": 0, "default": 0},
        },
    )
    def list_consultations() -> dict[str, Any]:
        arguments = request.args
        limit, offset = _number("limit", LIMIT, 1, MOST), _number("offset", 0, 0, 1 << 31)
        states = [part for part in arguments.get("state", "").split(",") if part]
        rows, total = consultations.worklist(
            caller(),
            states=states or None,
            urgency=_one_of("urgency", URGENCIES),
            specialty=_one_of("specialty", tuple(SPECIALTIES)),
            mine=arguments.get("mine", "").lower() in ("1", "true"),
            text=arguments.get("text", "")[:100],
            limit=limit,
            offset=offset,
        )
        shown = [shapes.consultation(row, caller()) for row in rows]
        return {"consultations": shown, "total": total, "limit": limit, "offset": offset}

    @api.operation(
        "POST",
        "/consultations",
        "Ask for a consultation about a study of one's own site",
        roles_=["referrer"],
        body="Request",
        answer="Consultation",
        status=201,
        errors=["400", "404", "409"],
    )
    def request_consultation(body: dict[str, Any]) -> dict[str, Any]:
        """Whatever identifies the patient is taken out of the question before it is kept."""
        opened = consultations.request(
            body["study_uid"],
            specialty=body["specialty"],
            urgency=body["urgency"],
            question=_cleaned(body["study_uid"], body.get("question", "")),
            centre_code=body.get("centre") or None,
            user=caller(),
            origin=origin(),
        )
        return shapes.consultation(opened, caller())

    def _cleaned(study_uid: str, text: str) -> str:
        queries.visible_study(
            web.storage.database, caller(), study_uid
        )  # the cleaner knows every site's patients
        return web.clean(study_uid, text)

    @api.operation(
        "GET",
        "/consultations/<public_id>",
        "One consultation",
        roles_=CLINICAL,
        answer="Consultation",
        errors=["404"],
    )
    def get_consultation(public_id: str) -> dict[str, Any]:
        return shapes.consultation(consultations.get(public_id, caller()), caller())


def _changes(api: Api, web: Services) -> None:
    consultations = web.storage.consultations
    changed = ["400", "404", "409"]

    def clean(public_id: str, text: str) -> str:
        """A referrer's words without the patient's identifiers; a consultant knows none."""
        if caller().role != "referrer":
            return text
        return web.clean(consultations.get(public_id, caller()).study.study_instance_uid, text)

    def simple(verb: str, summary: str, roles: tuple[str, ...]) -> None:
        def act(public_id: str, body: dict[str, Any]) -> dict[str, Any]:
            change = getattr(consultations, verb)
            return shapes.consultation(change(public_id, caller(), origin=origin()), caller())

        act.__name__ = f"{verb}_consultation"
        path = f"/consultations/<public_id>/{verb}"
        api.operation(
            "POST", path, summary, roles_=roles, body="Nothing", answer="Consultation", errors=changed
        )(act)

    def with_text(verb: str, summary: str, roles: tuple[str, ...]) -> None:
        def act(public_id: str, body: dict[str, Any]) -> dict[str, Any]:
            change, text = getattr(consultations, verb), clean(public_id, body["text"])
            return shapes.consultation(change(public_id, caller(), text, origin=origin()), caller())

        act.__name__ = f"{verb}_consultation"
        path = f"/consultations/<public_id>/{verb}"
        api.operation(
            "POST", path, summary, roles_=roles, body="Text", answer="Consultation", errors=changed
        )(act)

    simple("accept", "Take a requested consultation", ("consultant",))
    simple("acknowledge", "Close a delivered consultation: the site has read the opinion", ("referrer",))
    with_text("decline", "Refuse a consultation, with the reason the site reads", CENTRE)
    with_text("ask", "Return a consultation to the site with a question", CENTRE)
    with_text("answer", "Answer the centre's question", ("referrer",))
    with_text("cancel", "Withdraw a consultation, with the reason", ("referrer", "coordinator"))

    @api.operation(
        "POST",
        "/consultations/<public_id>/assign",
        "Direct a consultation to a consultant or another centre",
        roles_=["coordinator"],
        body="Assignment",
        answer="Consultation",
        errors=changed,
    )
    def assign_consultation(public_id: str, body: dict[str, Any]) -> dict[str, Any]:
        assignee, centre = body.get("assignee"), body.get("centre")
        assigned = consultations.assign(
            public_id, caller(), assignee or None, centre or None, origin=origin()
        )
        return shapes.consultation(assigned, caller())


def _opinions(api: Api, web: Services) -> None:
    consultations = web.storage.consultations

    @api.operation(
        "GET",
        "/consultations/<public_id>/opinion",
        "The signed opinion, or before that the caller's own draft",
        roles_=CLINICAL,
        answer="Opinion",
        errors=["404"],
    )
    def get_opinion(public_id: str) -> dict[str, Any]:
        """A draft that does not exist yet has revision 0 and empty texts."""
        row = consultations.opinion(public_id, caller())
        return shapes.opinion(row, caller() if row is not None and row.author_id == caller().id else None)

    @api.operation(
        "PUT",
        "/consultations/<public_id>/opinion",
        "Keep the draft",
        roles_=["consultant"],
        body="Draft",
        answer="Opinion",
        errors=["400", "404", "409"],
    )
    def put_opinion(public_id: str, body: dict[str, Any]) -> dict[str, Any]:
        row = consultations.draft(public_id, caller(), origin=origin(), **body)
        return shapes.opinion(row, caller())

    @api.operation(
        "POST",
        "/consultations/<public_id>/sign",
        "Sign the draft; it cannot be changed afterwards and is delivered to the site",
        roles_=["consultant"],
        body="Signature",
        answer="Consultation",
        errors=["400", "404", "409", "429"],
    )
    def sign_opinion(public_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """The password is asked again: a signature is the person's, not that of whoever sits at an open browser."""
        consultations.get(public_id, caller())
        if throttle.authenticate(caller().login, body["password"]) is None:
            raise WrongPassword("the password is wrong; nothing was signed")
        consultations.sign(public_id, caller(), body["revision"], origin=origin())
        return shapes.consultation(consultations.get(public_id, caller()), caller())


def _annotations(api: Api, web: Services) -> None:
    annotations = web.storage.annotations

    @api.operation(
        "GET",
        "/consultations/<public_id>/annotations",
        "Every author's annotations",
        roles_=CLINICAL,
        answer="Annotations",
        errors=["404"],
    )
    def list_annotations(public_id: str) -> dict[str, Any]:
        return {"annotations": annotations.list(public_id, caller())}

    @api.operation(
        "PUT",
        "/consultations/<public_id>/annotations/<uid>",
        "Keep an annotation of one's own",
        roles_=["consultant"],
        body="AnnotationInput",
        answer="Annotation",
        errors=["400", "404", "409"],
    )
    def put_annotation(public_id: str, uid: str, body: dict[str, Any]) -> dict[str, Any]:
        revision = body.pop("revision", None)
        return annotations.put(public_id, caller(), uid, body, revision, origin=origin())

    @api.operation(
        "DELETE",
        "/consultations/<public_id>/annotations/<uid>",
        "Remove an annotation of one's own",
        roles_=["consultant"],
        errors=["404", "409"],
    )
    def delete_annotation(public_id: str, uid: str) -> None:
        annotations.delete(public_id, caller(), uid, origin=origin())


def _number(name: str, default: int, least: int, most: int) -> int:
    text = request.args.get(name, str(default))
    if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
        raise Invalid(f"{name} is a number from {least} to {most}")
    return int(text)


def _one_of(name: str, allowed: tuple[str, ...]) -> str | None:
    value = request.args.get(name, "")
    if value and value not in allowed:
        raise Invalid(f"{name} must be one of {', '.join(allowed)}")
    return value or None
