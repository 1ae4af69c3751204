"""A deployment behind its web application, one copy a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.viewer.deployment import Deployment, make_template


@pytest.fixture(scope="session")
def template_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("template") / "home"
    make_template(home)
    return home


@pytest.fixture
def deploy(template_home: Path, tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Makes deployments with settings of their own: ``deploy(http_public_url="https://…")``."""
    made: list[Deployment] = []

    def make(**settings: object) -> Deployment:
        made.append(Deployment(template_home, tmp_path / f"home-{len(made) + 1}", **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def web(deploy: Callable[..., Deployment]) -> Deployment:
    return deploy()
