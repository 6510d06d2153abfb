"""The one set-up of logging: lines for people, or one JSON object a line for programs.

A line of JSON has `time` (UTC, ISO 8601), `level`, `logger`, `message`, and where they are known
`request_id`, `task_id` and `error` (a traceback). Whatever else a call gave as `extra` comes along.
"""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from lwmecps_gym.platform.config import Settings

request_id_var: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request that this task or thread works for; None outside of requests."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    Args:
        fields: What every line has besides.
    """

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._fields,
        }
        request_id = request_id_var.get()
        if request_id is not None:
            line["request_id"] = request_id
        line |= {name: each for name, each in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up_logging(settings: Settings) -> None:
    """Let the platform's own loggers write to stderr as the settings say; others are left alone."""
    handler = logging.StreamHandler()
    json_lines = settings.log_format == "json"
    handler.setFormatter(JsonFormatter() if json_lines else logging.Formatter(_TEXT))
    logger = logging.getLogger("lwmecps_gym")
    logger.handlers = [handler]
    logger.setLevel(settings.log_level.upper())
    logger.propagate = False
