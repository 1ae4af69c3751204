"""Documentation that cannot rot: generated pages equal their code, links lead somewhere, commands exist."""

from __future__ import annotations

import re
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from gateway import conformance
from tests.peers.gateway import CONSILIUM

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_conformance_tables_are_those_of_the_code() -> None:
    text = (ROOT / "docs/conformance.md").read_text("utf-8")
    assert text == conformance.page(text), "run: python -m gateway.conformance"


def test_every_dependency_has_its_reason() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    lines = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    names = {re.split(r"[ \[<>=;]", line)[0] for block in lines for line in block.split("\n") if line.strip()}
    text = (ROOT / "docs/dependencies.md").read_text("utf-8")
    missing = sorted(name for name in names if f"| {name} |" not in text)
    assert missing == [], "docs/dependencies.md has no line for these"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_code_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = {link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    broken = sorted(link for link in links if link and not (page.parent / link).exists())
    named = set(re.findall(r"`((?:config|storage|gateway|viewer|tests|docs)/[\w./-]*[\w/])`", text))
    broken += sorted(path for path in named if not (ROOT / path).exists())
    assert broken == []


def test_commands_of_the_pages_exist() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    words = set(re.findall(r"^(?:\$ )?consilium ([a-z]+)(?: ([a-z]+))?", text, re.MULTILINE))
    groups = {"site", "centre", "route", "user", "token", "quarantine"}
    assert words
    for command, sub in sorted(words):
        arguments = [command, sub] if command in groups and sub else [command]
        done = subprocess.run([CONSILIUM, *arguments, "--help"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"consilium {' '.join(arguments)} is not a command: {done.stderr}"


def test_make_targets_of_the_pages_exist() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"`make ([a-z-]+)`", text)) | set(
        re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)
    )
    assert {"run", "test"} <= targets
    missing = sorted(t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE))
    assert missing == []
