"""Configures logging: as text for people or as JSON for machines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from meshcore.telemetry.logs.call_fields import CallFields

_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
"""The attributes that every record has. Others were given as `extra`."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, message, exception, and all values of `extra`.

    With the filter `CallFields`, as `log_to_stderr` has it, what is logged within a call has that as fields. The record
    of a failed call has the call's id as `call`. Its caller gets the same id.

    Attributes:
        always: fields of all lines. A server that has started sets `service`, its components, and `instance`.
    """

    always: Mapping[str, str] = {}

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        given = {name: value for name, value in vars(record).items() if name not in _STANDARD and name not in entry}
        entry |= {**self.always, **given}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        try:
            return json.dumps(entry, default=repr, allow_nan=False)
        except (TypeError, ValueError):  # extras may be any objects; the line must be JSON all the same
            return json.dumps({name: value if isinstance(value, str) else repr(value) for name, value in entry.items()})


def identify_lines(components: Iterable[str], instance: str) -> None:
    """Let all lines of JSON that the root logger's handlers write say which service and instance they are of.

    Args:
        components: the names of what this process serves.
        instance: identifies the process: the ids of its instances end with it.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonFormatter):
            handler.formatter.always = {"service": ", ".join(components), "instance": instance}


def json_line(logger: str, message: str, **extra: Any) -> str:
    """A line in the form of the JSON log, for text that is printed and not logged."""
    record = logging.makeLogRecord({"name": logger, "levelname": "INFO", "msg": message, **extra})
    return JsonFormatter().format(record)


def log_to_stderr(form: str = "text", *, debug: bool = False) -> None:
    """Write the log to stderr.

    Args:
        form: the setting `log_format`, "text" or "json".
        debug: whether to log at level DEBUG, too.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    handler.addFilter(CallFields())
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    logging.captureWarnings(form == "json")  # otherwise warnings would be lines of text among the JSON
    if not debug:
        logging.getLogger("asyncio").setLevel(logging.WARNING)
