"""The reference of the settings is what the code says."""

from __future__ import annotations

import tomllib
from pathlib import Path

from config import reference
from config.settings import FIELDS, load

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == reference.markdown(), "run `make docs`"


def test_every_setting_has_its_section() -> None:
    page = reference.markdown()
    for name in FIELDS:
        assert f"\n## {name}\n" in page and f"`CONSILIUM_{name.upper()}`" in page


def test_what_is_in_force_can_be_read_again_and_shows_no_secret(tmp_path: Path) -> None:
    environ = {
        "CONSILIUM_HOME": str(tmp_path),
        "CONSILIUM_S3_SECRET_KEY": "s3cr3t",
        "CONSILIUM_DICOM_PORT": "104",
    }
    settings = load(environ=environ)
    shown = reference.in_force(settings)
    assert "s3cr3t" not in shown and "s3_secret_key is set" in shown
    (tmp_path / "again.toml").write_text(shown)
    assert tomllib.loads(shown)["dicom_port"] == 104
    again = load(tmp_path / "again.toml", environ={"CONSILIUM_S3_SECRET_KEY": "s3cr3t"})
    assert again == settings
