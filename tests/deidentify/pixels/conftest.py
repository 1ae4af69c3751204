"""A gateway with real storage, and pictures with text in them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.deidentify.pixels.detector import Detector
from tests.gateway.conftest import backend, both_backends, empty_databases, gateway, house, settings

__all__ = ["backend", "both_backends", "detector", "empty_databases", "gateway", "house", "settings"]


@pytest.fixture(scope="session")
def detector() -> Iterator[Detector]:
    """The networks, loaded once."""
    yield Detector()
