"""The log of a training: one file for each task in the data folder, a JSON object on each line."""

import json
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lwmecps_gym.platform.errors import LwmecpsError
from lwmecps_gym.platform.logs import JsonFormatter
from lwmecps_gym.platform.models import TrainingTask

MAX_BYTES = 8 * 1024 * 1024
"""How large the log of one task may grow."""

logger = logging.getLogger(__name__)


class _BoundedFile(logging.FileHandler):
    """Appends lines until the file is full, and says so in its last one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line."""
        size = self.stream.tell() if self.stream is not None else 0
        if size > MAX_BYTES:
            return
        super().emit(record)
        if self.stream is not None and self.stream.tell() > MAX_BYTES:
            record = logging.makeLogRecord(
                {**record.__dict__, "msg": "the log is full: no more lines are kept", "args": None}
            )
            super().emit(record)


@contextmanager
def task_log(data_dir: Path, task: TrainingTask) -> Iterator[None]:
    """Write what is logged while the block runs to the task's log, with the task's request id.

    The platform's own loggers write from INFO on, all others from WARNING on. The error that leaves
    the block is logged with its traceback.
    """
    path = log_path(data_dir, task.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _BoundedFile(path, encoding="utf-8")
    handler.setFormatter(JsonFormatter(task_id=task.id, request_id=task.request_id))
    own = logging.getLogger("lwmecps_gym")
    level, propagated = own.level, own.propagate
    heard = [logging.getLogger()]
    if not logging.getLogger("ray").propagate:  # it hands nothing on to the root
        heard.append(logging.getLogger("ray"))
    for each in heard:
        each.addHandler(handler)
    own.setLevel(logging.INFO)
    own.propagate = True
    try:
        yield
    except LwmecpsError as error:
        logger.error("%s", error)
        raise
    except Exception:
        logger.exception("the training met an error")
        raise
    finally:
        for each in heard:
            each.removeHandler(handler)
        handler.close()
        own.setLevel(level)
        own.propagate = propagated


def read_task_log(
    data_dir: Path, task_id: str, since: int = 0, limit: int = 1000
) -> tuple[list[dict[str, Any]], int]:
    """Read a part of a task's log.

    Args:
        data_dir: The data folder.
        task_id: An id that the store knows.
        since: Position that an earlier call gave; 0: the beginning.
        limit: At most so many lines.

    Returns:
        The lines, and the position behind them.
    """
    lines: list[dict[str, Any]] = []
    try:
        with log_path(data_dir, task_id).open("rb") as log:
            log.seek(since)
            for line in log:
                if len(lines) == limit or not line.endswith(b"\n"):  # it is being written
                    break
                since += len(line)
                lines += _parsed(line)
    except FileNotFoundError:
        return [], 0
    return lines, since


def tail_task_log(data_dir: Path, task_id: str, count: int) -> tuple[list[dict[str, Any]], int]:
    """Read the last lines of a task's log; gives them and the position behind them."""
    last: deque[bytes] = deque(maxlen=count)
    position = 0
    try:
        with log_path(data_dir, task_id).open("rb") as log:
            for line in log:
                if line.endswith(b"\n"):
                    last.append(line)
                    position += len(line)
    except FileNotFoundError:
        return [], 0
    return [parsed for line in last for parsed in _parsed(line)], position


def log_path(data_dir: Path, task_id: str) -> Path:
    """Return the file of a task's log."""
    return data_dir / "logs" / f"{task_id}.jsonl"


def _parsed(line: bytes) -> list[dict[str, Any]]:
    """Return the object of a line; none where a process that died left half a line."""
    try:
        found = json.loads(line)
    except ValueError:
        return []
    return [found] if isinstance(found, dict) else []
