"""How log lines look: JSON in production, readable in development; and what never stands in them.

What PostgreSQL tells of an error repeats values of rows (`DETAIL: Key (email)=(…) already exists.`): it is withheld,
whoever logs. A field of a line is what was given as `extra`, if it is a plain value: Django's own extras hold requests
and SQL.
"""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from pythonjsonlogger.json import JsonFormatter

#: Of the HTTP request in whose course something is logged.
request_id: ContextVar[str] = ContextVar("request_id", default="")

#: From here to the next part of the message, or of the chain of exceptions, values of rows may stand.
_PART = r"(?=\n\n(?:The above exception|During handling)|\n(?:HINT|DETAIL|CONTEXT|QUERY|LINE \d+):|\Z)"
_TELLING = re.compile(rf"(?:\b|(?<=\\n))(DETAIL|CONTEXT|QUERY|LINE \d+):.*?{_PART}", re.DOTALL)
_INVALID = re.compile(r"(invalid input (?:syntax|value)[^:\n]*|field value out of range): *\"(?:[^\"\n]|\"\")*\"?")
_OUT_OF_RANGE = re.compile(r'value "[^"\n]*" is out of range')
#: What a record always has, and what others' extras are called.
_RESERVED = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "request_id"}


def withheld(text: str) -> str:
    """The text without what may be values of rows."""
    text = _TELLING.sub(r"\1: (withheld)", text)
    text = _INVALID.sub(r"\1: (withheld)", text)
    return _OUT_OF_RANGE.sub("value (withheld) is out of range", text)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """The record's own plain fields, with the id of the request."""
    plain = {
        name: str(value) if isinstance(value, UUID) else value
        for name, value in vars(record).items()
        if name not in _RESERVED and isinstance(value, str | int | float | bool | UUID | None)
    }
    id_ = request_id.get()
    return plain | ({"request_id": id_} if id_ else {})


class LineFormatter(logging.Formatter):
    """`time LEVEL logger: message name=value …`, for people."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name}: {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """With the fields after the message."""
        told = " ".join(f"{name}={value}" for name, value in fields(record).items())
        record.message = withheld(record.message)
        return super().formatMessage(record) + (f"  {told}" if told else "")

    def formatException(self, ei: Any) -> str:
        """The traceback, without values of rows."""
        return withheld(super().formatException(ei))


class JsonLineFormatter(JsonFormatter):
    """One JSON object a line: time (UTC), level, logger, message, the fields, and the traceback as `exception`."""

    def __init__(self) -> None:
        super().__init__(
            "{levelname}{name}{message}", style="{", timestamp="time", json_ensure_ascii=False,
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
            reserved_attrs=[*_RESERVED],
        )  # fmt: skip

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Only plain fields of a record reach the line."""
        record.message = withheld(record.message)
        plain = fields(record)
        kept = logging.makeLogRecord({name: value for name, value in vars(record).items() if name in _RESERVED})
        super().add_fields(log_data, kept, message_dict)
        for name, value in plain.items():
            log_data.setdefault(name, value)

    def formatException(self, ei: Any) -> str:
        """The traceback, without values of rows."""
        return withheld(str(logging.Formatter.formatException(self, ei)))


def configuration(format_: str, level: str) -> dict[str, Any]:
    """Django's LOGGING. format_: JSON or LINE."""
    formatter = {"JSON": JsonLineFormatter, "LINE": LineFormatter}[format_]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            "daphne": {"level": "WARNING"},
            # With DEBUG it would log every statement with its values.
            "django.db.backends": {"level": "INFO"},
            # Django's own handler mails and prints beside ours.
            "django": {"handlers": [], "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
        },
        "root": {"handlers": ["console"], "level": level},
    }
