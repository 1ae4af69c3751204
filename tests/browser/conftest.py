"""The viewer over a deployment with one study, for every browser test that needs no hospital."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.viewing import Viewer, ct_series, send, served, single
from tests.viewer.deployment import Deployment, make_template


@pytest.fixture(scope="session")
def looking_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("looking") / "home"
    make_template(home)
    return home


@pytest.fixture
def house(looking_template: Path, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment whose hospital NORTH sent a CT series of twelve slices and a radiograph."""
    one = Deployment(looking_template, tmp_path / "home")
    send(one, *ct_series(), single("RG3_J2KR.dcm", 2))
    yield one
    one.close()


@pytest.fixture
def study(house: Deployment) -> str:
    """The pseudonymised Study Instance UID."""
    (uid,) = house.gateway.vault.find("NORTH", "77-1")
    return uid


@pytest.fixture
def consultation(house: Deployment, study: str) -> str:
    """Accepted by Orlova."""
    doctor, orlova = house.storage.people.user("north-doctor"), house.storage.people.user("orlova")
    asked = house.storage.consultations.request(
        study, specialty="oncology", urgency="urgent", question="Очаг?", user=doctor
    )
    house.storage.consultations.accept(asked.public_id, orlova)
    return asked.public_id


@pytest.fixture
def look(house: Deployment, chromium: Any) -> Iterator[Callable[..., Viewer]]:
    """Sits a person before a browser: ``look("orlova")``; no page may have complained at the end."""
    sitting: list[Viewer] = []
    with served(house) as address:

        def sit(login: str, browser: Any = chromium, **context: Any) -> Viewer:
            sitting.append(Viewer(browser, address, login, **context))
            return sitting[-1]

        yield sit
        for viewer in sitting:
            viewer.close()
