"""Typed text in a hospital's own character set: signs a keyboard adds are written as that set can.

A browser gives «», —, × and ², which ISO 8859-5 (ISO_IR 144) lacks. Sending the whole report in UTF-8 for a dash
would cost the hospital its own character set, and old systems the patient's name. The words never change: only the
signs of this table are replaced, and only where the set has no letter for them. The PDF shows the text as signed.
"""

from __future__ import annotations

from collections.abc import Callable

PLAIN = {
    "\u00a0": " ",
    "\u2009": " ",
    "\u202f": " ",
    "\u2010": "-",
    "\u2011": "-",
    "\u2012": "-",
    "–": "-",
    "—": "-",
    "−": "-",
    "•": "-",
    "·": "-",
    "«": '"',
    "»": '"',
    "“": '"',
    "”": '"',
    "„": '"',
    "‘": "'",
    "’": "'",
    "…": "...",
    "×": "x",
    "²": "2",
    "³": "3",
    "±": "+/-",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "→": "->",
    "№": "No.",
}
"""Sign → what may stand for it."""


def plainer(text: str, has: Callable[[str], bool]) -> str:
    """`text` with each sign of `PLAIN` replaced for which ``has(sign)`` is false."""
    return "".join(PLAIN[c] if c in PLAIN and not has(c) else c for c in text)
