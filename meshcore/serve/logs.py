"""What a server says while it runs: the standard library's logging, as text for people or as JSON for machines."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
"""What every record has; the rest is what somebody gave as `extra`."""


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, exception, and whatever was given as `extra`.

    A call that failed has its id as `call`, which its caller was told.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _OWN and name not in entry}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        try:
            return json.dumps(entry, default=repr, allow_nan=False)
        except (TypeError, ValueError):  # extras may be anything, but a line is always JSON
            return json.dumps({name: value if isinstance(value, str) else repr(value) for name, value in entry.items()})


def json_line(logger: str, message: str, **extra: Any) -> str:
    """A line as the log would have it, for what is printed beside it."""
    record = logging.makeLogRecord({"name": logger, "levelname": "INFO", "msg": message, **extra})
    return JsonFormatter().format(record)


def log_to_stderr(form: str = "text", *, debug: bool = False) -> None:
    """Write what is logged to stderr.

    Args:
        form: the setting `log_format`, "text" or "json".
        debug: whether details are written as well.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    logging.captureWarnings(form == "json")  # else they would be lines of text in between
    if not debug:
        logging.getLogger("asyncio").setLevel(logging.WARNING)
