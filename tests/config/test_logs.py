"""No identifier reaches a log line, whoever logs and however."""

from __future__ import annotations

import ast
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from config.errors import Conflict
from config.logs import _EVENT, KEYS, WITHHELD, configure, safe_traceback
from config.settings import Settings

ROOT = Path(__file__).parents[2]
SECRET = "Иванов"
ORIGINAL_UID = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture(params=["json", "console"])
def stream(request: pytest.FixtureRequest, settings: Settings) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, sys.excepthook, threading.excepthook)
    made = io.StringIO()
    configure(replace(settings, log_format=request.param), made)
    yield made
    root.handlers[:], level, sys.excepthook, threading.excepthook = before
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_only_known_keys_and_shapes_pass(stream: io.StringIO) -> None:
    log = structlog.get_logger("gateway.test")
    log.info(
        "instance.stored",
        study="2.25.123",
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        calling_ae="PACS 1",
        seconds=0.5,
        series=ORIGINAL_UID,
        patient_name=SECRET,
        site=f"R1 {SECRET}",
        bytes=SECRET,
        error=ValueError(SECRET),
    )
    text = stream.getvalue()
    assert SECRET not in text and ORIGINAL_UID not in text
    assert all(
        word in text
        for word in ("instance.stored", "2.25.123", "PACS 1", "0.5", "ValueError", "gateway.test")
    )
    assert text.count(WITHHELD) == 4


def test_our_own_errors_tell_their_message(stream: io.StringIO) -> None:
    structlog.get_logger("x").warning("it.failed", error=Conflict("a stale revision"))
    assert "Conflict: a stale revision" in stream.getvalue()


def test_an_event_is_a_name_not_a_sentence(stream: io.StringIO) -> None:
    structlog.get_logger("x").info(f"stored {SECRET}")
    assert SECRET not in stream.getvalue() and WITHHELD in stream.getvalue()


def test_a_traceback_tells_places_and_types_only(stream: io.StringIO) -> None:
    def fail() -> None:
        try:
            int(SECRET)
        except ValueError as error:
            raise RuntimeError(f"for {SECRET}") from error

    try:
        fail()
    except RuntimeError:
        structlog.get_logger("x").exception("it.failed")
    text = stream.getvalue()
    assert SECRET not in text
    for part in (
        "Traceback (most recent call last)",
        "ValueError",
        "RuntimeError",
        "test_logs.py",
        "in fail",
    ):
        assert part in text


def test_libraries_are_silent_below_warning_and_wordless_above(stream: io.StringIO) -> None:
    for name in (
        "pynetdicom",
        "pydicom",
        "werkzeug",
        "gunicorn.error",
        "sqlalchemy.engine",
        "minio",
        "urllib3",
    ):
        logger = logging.getLogger(name)
        logger.debug("d %s", SECRET)
        logger.info("i %s", SECRET)
        logger.warning("w %s", SECRET, extra={"patient": SECRET})
        try:
            int(SECRET)
        except ValueError:
            logger.exception("e %s", SECRET)
    text = stream.getvalue()
    assert SECRET not in text
    assert text.count("library.message") == 14 and "sqlalchemy.engine" in text


def test_a_library_that_brings_its_own_handler_is_adopted(settings: Settings, stream: io.StringIO) -> None:
    own = io.StringIO()
    logger = logging.getLogger("library.with.handler")
    logger.addHandler(logging.StreamHandler(own))
    logger.propagate = False
    configure(replace(settings, log_format="json"), stream)
    logger.warning("w %s", SECRET)
    assert own.getvalue() == "" and "library.message" in stream.getvalue()


def test_warnings_and_crashes_go_through_the_chain(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn(SECRET, stacklevel=1)
    thread = threading.Thread(target=lambda: int(SECRET))
    thread.start()
    thread.join()
    try:
        int(SECRET)
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    text = stream.getvalue()
    assert SECRET not in text
    assert "py.warnings" in text and "thread.crashed" in text and "process.crashed" in text


def test_json_is_one_object_a_line(settings: Settings, stream: io.StringIO) -> None:
    configure(replace(settings, log_format="json"), stream)
    stream.truncate(0)
    stream.seek(0)
    structlog.get_logger("x").info("instance.stored", seconds=1)
    (line,) = lines(stream)
    assert line["event"] == "instance.stored" and line["seconds"] == 1 and line["timestamp"].endswith("Z")


def test_the_level_is_kept(settings: Settings, stream: io.StringIO) -> None:
    configure(replace(settings, log_level="error"), stream)
    log = structlog.get_logger("x")
    log.warning("a.b")
    log.error("c.d")
    assert "a.b" not in stream.getvalue() and "c.d" in stream.getvalue()


def test_causes_that_go_in_a_circle_end() -> None:
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one
    assert safe_traceback(one).count("ValueError") == 2


LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for room in ("config", "storage", "gateway", "viewer"):
        for path in sorted((ROOT / room).rglob("*.py")):
            if "node_modules" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in LEVELS
                    and ast.unparse(node.func.value).split("(")[0].split(".")[-1]
                    in {"log", "_log", "logger", "LOG"}
                ):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_every_log_call_uses_names_the_chain_lets_through() -> None:
    wrong = []
    for where, call in _calls():
        event = call.args[0] if call.args else None
        if isinstance(event, ast.Constant) and not _EVENT.fullmatch(str(event.value)):
            wrong.append(f"{where}: event {event.value!r} is not like noun.verb")
        for keyword in call.keywords:
            if keyword.arg not in KEYS and keyword.arg != "exc_info":
                wrong.append(f"{where}: key {keyword.arg} is not in config.logs.KEYS")
    assert not wrong, "\n".join(wrong)
