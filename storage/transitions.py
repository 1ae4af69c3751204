"""The one table of what may happen to a consultation: from which state, by whom, to which state.

::

    requested ──accept──▶ accepted ──sign──▶ signed ──deliver──▶ delivered ──acknowledge──▶ acknowledged
        │  ▲                │  ▲
        │  └──── answer ────┘  │        requested, accepted ──decline──▶ declined
        └──▶ returned (ask) ◀──┘        requested, accepted, returned ──cancel──▶ cancelled

Nothing else in the product writes `Consultation.state`; `storage.consultations` carries out what this table allows and
`storage.access` says who belongs to the parties named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from config.errors import Conflict


class State(StrEnum):
    REQUESTED = "requested"
    ACCEPTED = "accepted"
    RETURNED = "returned"
    SIGNED = "signed"
    DELIVERED = "delivered"
    ACKNOWLEDGED = "acknowledged"
    DECLINED = "declined"
    CANCELLED = "cancelled"


OPEN = frozenset({State.REQUESTED, State.ACCEPTED, State.RETURNED})
"""States in which somebody still owes an answer; deadlines count here."""

ANSWERED = frozenset({State.SIGNED, State.DELIVERED, State.ACKNOWLEDGED})
"""States in which a signed opinion exists; the site may read it."""


class Party(StrEnum):
    """Who may make a change; each adds a relation to the consultation to a role."""

    CONSULTANT = (
        "consultant"  # a consultant of the consultation's centre, not kept from it by another's assignment
    )
    ASSIGNEE = "assignee"  # the consultant who accepted it
    COORDINATOR = "coordinator"  # a coordinator of the consultation's centre (or of any, while it has none)
    REFERRER = "referrer"  # a referrer of the site that asked
    SYSTEM = "system"  # the product itself: a route, the delivery


@dataclass(frozen=True, slots=True)
class Change:
    """One legal change of state.

    Parameters
    ----------
    sources
        States it may start from.
    target
        State it ends in; None where the state is kept or depends on the past (`answer`, `assign`).
    parties
        Who may make it.
    needs_text
        Whether a reason, a question or an answer has to be given.
    """

    sources: frozenset[State]
    target: State | None
    parties: frozenset[Party]
    needs_text: bool = False


def _change(
    sources: frozenset[State] | set[State], target: State | None, *parties: Party, needs_text: bool = False
) -> Change:
    return Change(frozenset(sources), target, frozenset(parties), needs_text)


CHANGES: dict[str, Change] = {
    "accept": _change({State.REQUESTED}, State.ACCEPTED, Party.CONSULTANT),
    "decline": _change(
        {State.REQUESTED, State.ACCEPTED},
        State.DECLINED,
        Party.CONSULTANT,
        Party.COORDINATOR,
        needs_text=True,
    ),
    "ask": _change(
        {State.REQUESTED, State.ACCEPTED},
        State.RETURNED,
        Party.CONSULTANT,
        Party.COORDINATOR,
        needs_text=True,
    ),
    "answer": _change({State.RETURNED}, None, Party.REFERRER, needs_text=True),
    "assign": _change(OPEN, None, Party.COORDINATOR),
    "cancel": _change(OPEN, State.CANCELLED, Party.REFERRER, Party.COORDINATOR, needs_text=True),
    # A draft survives a question to the site: what was typed while it was on its way must not be lost.
    "draft": _change({State.ACCEPTED, State.RETURNED}, None, Party.ASSIGNEE),
    "annotate": _change(OPEN, None, Party.CONSULTANT),
    "sign": _change({State.ACCEPTED}, State.SIGNED, Party.ASSIGNEE),
    "deliver": _change({State.SIGNED}, State.DELIVERED, Party.SYSTEM),
    "acknowledge": _change({State.DELIVERED}, State.ACKNOWLEDGED, Party.REFERRER),
}


def check_state(action: str, state: str) -> Change:
    """The change called `action`, if it may start from `state`.

    Raises
    ------
    Conflict
        If it may not; the message says from which states it may.
    """
    change = CHANGES[action]
    if state not in change.sources:
        allowed = " or ".join(sorted(change.sources))
        raise Conflict(
            f"cannot {action}: the consultation is {state}, and this is possible only while it is {allowed}; "
            "reload it to see its present state"
        )
    return change


def after_answer(accepted: bool) -> State:
    """Where a returned consultation goes back to: to whoever had accepted it, or to the waiting list."""
    return State.ACCEPTED if accepted else State.REQUESTED
