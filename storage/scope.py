"""Whose studies a caller may see; decided by `storage.access`, applied by every query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Scope:
    """Part of the archive that is visible to one caller.

    Parameters
    ----------
    kind
        ``"all"``: everything (the system itself); ``"site"``: the studies one hospital sent; ``"centre"``: the studies
        of consultations at one centre; ``"none"``: nothing.
    site_id, centre_id
        Which site or centre, for those kinds.
    """

    kind: Literal["all", "site", "centre", "none"]
    site_id: int | None = None
    centre_id: int | None = None

    def __post_init__(self) -> None:
        if (self.kind == "site") != (self.site_id is not None):
            raise ValueError("a scope names a site exactly when it is of kind 'site'")
        if (self.kind == "centre") != (self.centre_id is not None):
            raise ValueError("a scope names a centre exactly when it is of kind 'centre'")


EVERYTHING = Scope("all")
NOTHING = Scope("none")
