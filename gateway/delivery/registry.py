"""The registry of channels, and what a channel is given and may raise.

A channel is a function that hands one opinion to one target and returns when the target has accepted all of it. It
knows its wire and nothing of retries (`storage.outbox`). It raises

- `Unreachable` where the target did not answer or asked to come back later: tried again without end;
- `Rejected` where the target answered no: tried again a few times, because somebody over there may be at it;
- a permanent error where no repetition can help.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from config.errors import TransientError
from gateway.reidentify import Reidentified
from gateway.reports.build import Part
from gateway.reports.content import ReportContent


class Unreachable(TransientError):
    """The target cannot take it now."""


class Rejected(TransientError):
    """The target answered that it does not want it; after `attempts` such answers a person has to look."""

    attempts = 5


@dataclass(frozen=True, slots=True)
class Delivery:
    """One opinion for one target.

    Parameters
    ----------
    target
        As the administrator wrote it (`storage.targets`).
    calling_ae_title
        Ours, for DICOM.
    content, who
        What is said and about whom.
    parts
        Builds the DICOM objects.
    pdf
        Builds the document.
    progress
        What this target has accepted before, by part.
    keep
        Stores a new `progress` durably.
    """

    target: str
    calling_ae_title: str
    content: ReportContent
    who: Reidentified
    parts: Callable[[], list[Part]]
    pdf: Callable[[], bytes]
    progress: Mapping[str, Any] = field(default_factory=dict)
    keep: Callable[[Mapping[str, Any]], None] = lambda progress: None


Channel = Callable[[Delivery], Mapping[str, Any]]
"""Delivers, and returns what the target said, by part; no identifiers."""

CHANNELS: dict[str, Channel] = {}


def channel(name: str) -> Callable[[Channel], Channel]:
    """Register a channel."""

    def register(function: Channel) -> Channel:
        if name in CHANNELS:
            raise ValueError(f"channel {name!r} is registered twice")
        CHANNELS[name] = function
        return function

    return register
