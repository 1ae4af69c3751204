"""A small memory of what was used last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """Values by key, the longest unused dropped first; safe to use from several threads.

    Parameters
    ----------
    capacity
        Sum of weights to keep; the last value stays however heavy it is.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> V | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            self._kept.move_to_end(key)
            return kept[0]

    def put(self, key: str, value: V, weight: int = 1) -> None:
        with self._lock:
            before = self._kept.pop(key, None)
            self._weight += weight - (before[1] if before is not None else 0)
            self._kept[key] = (value, weight)
            while self._weight > self._capacity and len(self._kept) > 1:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._weight -= dropped
