"""Dates that move by whole days: DA and DT values (PS3.5 6.2), and full dates written in text.

Times of day and UTC offsets are never touched, so intervals between any two dates and times of a patient stay equal.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

_DA = re.compile(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})\Z")
_DT = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?\Z")
TIME = re.compile(r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?\Z")


def parse(text: str) -> date | None:
    """A DA value, also with the dots of ACR-NEMA; None when it is no date of the calendar."""
    match = _DA.match(text)
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def _moved(day: date, days: int) -> date | None:
    try:
        return day + timedelta(days=days)
    except OverflowError:
        return None


def shift_date(text: str, days: int) -> str | None:
    """A DA value moved by `days`; None when it is not a date, so the caller must not keep it."""
    day = parse(text)
    moved = _moved(day, days) if day else None
    return None if moved is None else moved.strftime("%Y%m%d").rjust(8, "0")


def shift_datetime(text: str, days: int) -> str | None:
    """A DT value moved by `days`, with the precision, time and UTC offset it had; None when it is not one.

    A value of year or month precision is moved from the middle of what it spans, so it stays the nearest year or month.
    """
    match = _DT.match(text)
    if match is None or (match[4] and not match[3]):
        return None
    month = int(match[2]) if match[2] else 7
    day = int(match[3]) if match[3] else (15 if match[2] else 1)
    try:
        moved = _moved(date(int(match[1]), month, day), days)
    except ValueError:
        return None
    if moved is None:
        return None
    digits = moved.strftime("%Y%m%d").rjust(8, "0")
    length = 8 if match[3] else 6 if match[2] else 4
    return digits[:length] + (match[4] or "") + (match[5] or "")


def shift_values(value: bytes, days: int, *, datetime: bool) -> bytes | None:
    """All values of a DA or DT element moved; None when one of them is not a date."""
    try:
        texts = value.decode("ascii").strip("\0 ").split("\\")
    except UnicodeDecodeError:
        return None
    shift = shift_datetime if datetime else shift_date
    moved = [shift(text.strip("\0 "), days) if text.strip("\0 ") else "" for text in texts]
    if any(text is None for text in moved):
        return None
    return "\\".join(text for text in moved if text is not None).encode("ascii")


def is_time(value: bytes) -> bool:
    """Whether every value of a TM element is a time (PS3.5 6.2), so it can be kept as it is."""
    try:
        texts = value.decode("ascii").strip("\0 ").split("\\")
    except UnicodeDecodeError:
        return False
    return all(not text.strip() or TIME.match(text.strip("\0 ")) for text in texts)
