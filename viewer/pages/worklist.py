"""The worklist of a centre: who waits, how urgently, until when."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from config.specialties import SPECIALTIES, URGENCIES
from storage.transitions import OPEN, State
from viewer.auth import caller, roles
from viewer.paging import Page
from viewer.services import services

blueprint = Blueprint("worklist", __name__)

PER_PAGE = 50

# What the tabs above the list stand for.
GROUPS: dict[str, frozenset[State]] = {
    "open": OPEN,
    "requested": frozenset({State.REQUESTED}),
    "accepted": frozenset({State.ACCEPTED}),
    "returned": frozenset({State.RETURNED}),
    "done": frozenset(State) - OPEN,
}


@blueprint.get("/worklist")
@roles("consultant", "coordinator")
def worklist() -> ResponseReturnValue:
    user = caller()
    group = request.args.get("show", "open")
    group = group if group in GROUPS else "open"
    urgency = request.args.get("urgency", "")
    specialty = request.args.get("specialty", "")
    mine = request.args.get("mine") == "1"
    text = request.args.get("q", "").strip()[:100]
    page = Page.of_request(PER_PAGE)
    consultations = services().storage.consultations
    rows, total = consultations.worklist(
        user,
        states=GROUPS[group],
        urgency=urgency if urgency in URGENCIES else None,
        specialty=specialty if specialty in SPECIALTIES else None,
        mine=mine,
        text=text,
        limit=page.size,
        offset=page.offset,
    )
    counts = consultations.counts(user)
    return render_template(
        "worklist.html",
        rows=rows,
        page=page.with_total(total),
        group=group,
        groups={name: sum(counts[state.value] for state in states) for name, states in GROUPS.items()},
        urgency=urgency,
        specialty=specialty,
        mine=mine,
        query=text,
        filtered=bool(urgency or specialty or mine or text),
    )
