"""Logs that cannot name a patient.

One chain of processors stands between every log call and the terminal:

- our own events keep only the keys of `KEYS`, each only when its value has the shape that key allows; anything else is
  written as ``[withheld]``. A UID passes only if it is one of ours (``2.25.…``) or one of the standard's;
- what libraries log (pynetdicom prints identifiers, pydicom values) is dropped below WARNING; above, only the logger,
  the place in its code and the type of the exception remain, never its text;
- a traceback keeps files, lines and functions. The message of an exception is written only for `ConsiliumError`, whose
  messages hold no identifier by agreement.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from config.errors import ConsiliumError
from config.settings import Settings

WITHHELD = "[withheld]"

Shape = Callable[[Any], Any]

_WORD = re.compile(r"[A-Za-z0-9_.:@/+*#=,\[\]-]{0,200}")
_OUR_UID = re.compile(r"2\.25\.\d{1,39}|1\.2\.840\.10008(\.\d+)+|")
_ANY_UID = re.compile(r"[0-9.]{0,64}")
_AE_TITLE = re.compile(r"[\x20-\x7e]{0,16}")
_EVENT = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")


def _number(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float) else WITHHELD


def _matching(pattern: re.Pattern[str]) -> Shape:
    def shape(value: Any) -> Any:
        if isinstance(value, list | tuple | set | frozenset):
            return [shape(v) for v in value]
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, bool | int | float):
            return value
        text = str(value)
        return text if pattern.fullmatch(text) else WITHHELD

    return shape


def _error(value: Any) -> Any:
    """An exception as its type, with its message if it is one of ours; text as a word or our own sentence."""
    if isinstance(value, ConsiliumError):
        return f"{type(value).__name__}: {value}"
    if isinstance(value, BaseException):
        return type(value).__name__
    return _word(value)


def _counts(value: Any) -> Any:
    """A mapping of words to numbers."""
    if not isinstance(value, Mapping):
        return WITHHELD
    return {str(_word(k)): _number(v) for k, v in value.items()}


_word = _matching(_WORD)
_uid = _matching(_OUR_UID)
_class_uid = _matching(_ANY_UID)
_ae = _matching(_AE_TITLE)


def _keys(shape: Shape, names: str) -> dict[str, Shape]:
    return dict.fromkeys(names.split(), shape)


KEYS: Mapping[str, Shape] = {
    # pseudonymised
    **_keys(
        _uid,
        "study series instance study_uid series_uid sop_instance_uid study_instance_uid series_instance_uid",
    ),
    # of the standard or of a manufacturer, of no one in particular
    **_keys(_class_uid, "sop_class transfer_syntax sop_class_uid transfer_syntax_uid abstract_syntax"),
    **_keys(_ae, "ae calling_ae called_ae ae_title"),
    **_keys(
        _word,
        "site centre route specialty urgency profile role actor action state reason code channel target consultation "
        "opinion object key pack host address origin protocol method endpoint path_rule process part node signal "
        "version language tree revision state_before database store kind tag vr algorithm backend outcome check",
    ),
    **_keys(
        _number,
        "port pid count counts_total instances frames files bytes size seconds milliseconds attempts attempt status "
        "exit_code free reserve limit threads processes id quarantine item pending sealed removed total errors "
        "stored failed delivered series_id outbox changed boxes",
    ),
    **_keys(_counts, "counts"),
    **_keys(_error, "error cause"),
}
"""Every key a log line may carry, and the shape its value must have. A test keeps this complete."""

_MADE_HERE = frozenset({"event", "level", "logger", "timestamp", "exception", "line", "function"})


def keep_allowed(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Withhold every value that is not known to be harmless."""
    kept: EventDict = {}
    for key, value in event_dict.items():
        if key in _MADE_HERE:
            kept[key] = value
        else:
            shape = KEYS.get(key)
            kept[key] = WITHHELD if shape is None else shape(value)
    if not _EVENT.fullmatch(str(kept.get("event", ""))):
        kept["event"] = WITHHELD
    return kept


def safe_traceback(error: BaseException) -> str:
    """Files, lines, functions and types of an exception and its causes; messages of `ConsiliumError` only."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = traceback.extract_tb(current.__traceback__)
        lines = [f"  {_short(f.filename)}:{f.lineno} in {f.name}" for f in frames]
        message = f": {current}" if isinstance(current, ConsiliumError) else ""
        lines.append(f"{type(current).__module__}.{type(current).__qualname__}{message}")
        parts.append("\n".join(lines))
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "Traceback (most recent call last):\n" + "\nbecause of\n".join(reversed(parts))


def _short(filename: str) -> str:
    return "/".join(Path(filename).parts[-3:])


def _exception(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    info = event_dict.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info if isinstance(info, BaseException) else (info[1] if isinstance(info, tuple) else None)
    if error is not None:
        event_dict["exception"] = safe_traceback(error)
    return event_dict


def _foreign(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """What remains of a library's message: where it was said."""
    record: logging.LogRecord = event_dict["_record"]
    reduced: MutableMapping[str, Any] = {
        "event": "library.message",
        "logger": record.name if _WORD.fullmatch(record.name) else WITHHELD,
        "function": record.funcName,
        "line": record.lineno,
        "_record": record,
        "_from_structlog": False,
    }
    if record.exc_info:
        reduced["exc_info"] = record.exc_info
    return reduced


class _LibrariesFromWarning(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return isinstance(record.msg, dict) or record.levelno >= logging.WARNING


def configure(settings: Settings, stream: Any = None) -> None:
    """Send every log of this process through the chain; safe to repeat, in a child process too.

    Parameters
    ----------
    stream
        Text stream to write to; by default standard error, looked up at each line.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _exception,
    ]
    structlog.configure(
        processors=[*shared, keep_allowed, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    renderer: Any
    if settings.log_format == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        terminal = (stream or sys.stderr).isatty()
        renderer = structlog.dev.ConsoleRenderer(
            colors=terminal, exception_formatter=structlog.dev.plain_traceback, pad_event_to=28
        )
    handler = logging.StreamHandler(stream)
    handler.addFilter(_LibrariesFromWarning())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_foreign, *shared, keep_allowed],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        if type(old) is logging.StreamHandler:  # ours of last time, or one of a library's basicConfig
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    _adopt_libraries()
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _adopt_libraries() -> None:
    """Take away handlers that libraries bring, so that nothing goes around the chain."""
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        for handler in logger.handlers[:]:
            if not isinstance(handler, logging.NullHandler):
                logger.removeHandler(handler)
        logger.propagate = True


def _uncaught(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        return
    structlog.get_logger(__name__).critical("process.crashed", exc_info=error)


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        structlog.get_logger(__name__).critical("thread.crashed", exc_info=args.exc_value)
