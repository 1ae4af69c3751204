"""Two languages, complete: no word is left in English on a Russian page."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po
from flask_babel import force_locale

import viewer
from tests.viewer.deployment import Deployment
from viewer import present
from viewer.i18n import catalogue_path

ROOT = Path(viewer.__file__).parent.parent


@pytest.fixture(scope="module")
def russian() -> Catalog:
    return read_po(BytesIO(catalogue_path("ru").read_bytes()), locale="ru")


@pytest.fixture(scope="module")
def spoken() -> set[object]:
    """Every word the sources mark for translation."""
    mapping = (ROOT / "babel.cfg").read_text(encoding="utf-8").replace("viewer/", "")
    methods, options = parse_mapping_cfg(StringIO(mapping))
    keywords = {**DEFAULT_KEYWORDS, "_l": None, "lazy_gettext": None}
    found = extract_from_dir(
        ROOT / "viewer",
        methods,
        options,
        keywords,
        directory_filter=lambda path: Path(path).name not in ("frontend", "static", "node_modules"),
    )
    return {message for _, _, message, _, _ in found}


def test_everything_is_translated_and_nothing_is_doubtful(russian: Catalog, spoken: set[object]) -> None:
    assert len(spoken) > 300
    kept = {message.id: message for message in russian if message.id}
    assert [m for m in spoken if m not in kept] == [], (
        "see babel.cfg for how to bring the catalogue up to date"
    )
    assert [m for m in kept if m not in spoken] == []
    for message in kept.values():
        assert not message.fuzzy
        words = message.string if isinstance(message.string, tuple) else (message.string,)
        assert all(words), message.id
        assert len(words) == (3 if message.pluralizable else 1)


def test_translations_keep_every_placeholder(russian: Catalog) -> None:
    for message in russian:
        if not message.id:
            continue
        originals = message.id if isinstance(message.id, tuple) else (message.id,)
        words = message.string if isinstance(message.string, tuple) else (message.string,)
        wanted = set(re.findall(r"%\(\w+\)[sd]", originals[-1]))
        assert all(set(re.findall(r"%\(\w+\)[sd]", text)) == wanted for text in words), message.id


def test_russian_numbers_decline(web: Deployment) -> None:
    with web.app.test_request_context(), force_locale("ru"):
        ages = [present.age(f"{years:03d}Y") for years in (1, 2, 5, 11, 21, 42, 64)]
        assert ages == ["1 год", "2 года", "5 лет", "11 лет", "21 год", "42 года", "64 года"]
        counted = [present.image_count(number) for number in (1, 3, 612, 1121)]
        assert counted == ["1 изображение", "3 изображения", "612 изображений", "1121 изображение"]
        assert present.sex_age("F", "068Y") == "жен., 68 лет"
        assert present.dicom_date("20261121") == "21.11.2026"
        assert present.specialty("neurosurgery") == "Нейрохирургия"
    with web.app.test_request_context(), force_locale("en"):
        assert present.age("008M") == "8 months"
        assert present.dicom_date("20261121") == "21 Nov 2026"


def test_odd_values_are_shown_as_they_are(web: Deployment) -> None:
    with web.app.test_request_context(), force_locale("en"):
        assert present.age("about 60") == "about 60"
        assert present.dicom_date("2026") == "2026"
        assert present.dicom_date("") == ""
        assert present.specialty("alchemy") == "alchemy"
        assert present.person("Иванов^Пётр^Сергеевич") == "Иванов Пётр Сергеевич"
        assert present.person("=山田^太郎=やまだ^たろう") == "山田 太郎"
        assert present.person("") == present.person("^^") == ""


def test_deadlines_count_down(web: Deployment) -> None:
    class Case:
        state = "requested"
        urgency = "emergency"
        due_at = datetime(2026, 11, 21, 12, tzinfo=UTC)

    with web.app.test_request_context(), force_locale("en"):
        at = [present.due(Case, Case.due_at + timedelta(minutes=m)) for m in (-119, -59, 1, 90, 4000)]
        words = [re.sub("<[^>]+>", "", text) for text in at]
        assert words == [
            "1 h 59 min left",
            "59 min left",
            "overdue by 1 min",
            "overdue by 1 h 30 min",
            "overdue by 2 d 18 h",
        ]
        assert [re.search(r"due-(\w+)", text)[1] for text in at] == ["calm", "soon", "over", "over", "over"]  # type: ignore[index]
        Case.state = "signed"
        assert present.due(Case) == ""


def test_the_language_is_the_user_s_then_the_browser_s_choice_then_its_wish(web: Deployment) -> None:
    russian, english = 'lang="ru"', 'lang="en"'
    assert english in web.browser().get("/login").text[:200]
    assert russian in web.browser(Accept_Language="ru-RU,ru;q=0.9").get("/login").text[:200]
    browser = web.browser(Accept_Language="de")
    assert english in browser.get("/login").text[:200]
    assert browser.post("/language", language="ru", next="/login").headers["Location"] == "/login"
    assert russian in browser.get("/login").text[:200]
    assert "Войти" in browser.get("/login").text
    browser.sign_in("orlova")
    assert russian in browser.get("/worklist").text[:200]  # what was chosen before signing in stays
    browser.post("/language", language="en", next="//evil.example")
    assert english in browser.get("/worklist").text[:200]
    assert web.storage.people.user("orlova").language == "en"
    assert english in web.browser("orlova", Accept_Language="ru").get("/worklist").text[:200]
    browser.post("/language", language="xx")
    assert english in browser.get("/worklist").text[:200]


def test_the_deployment_s_language_is_the_last_resort(deploy: object) -> None:
    web = deploy(language="ru")  # type: ignore[operator]
    assert "Войти" in web.browser().get("/login").text
