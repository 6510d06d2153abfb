"""Results that are kept, so that what was measured once is not measured again."""

import hashlib
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


class Kept:
    """Results in files, one for each thing that was measured, by this version.

    Args:
        root: folder; made with the first result.
        fresh: measure everything anew, and keep that.
    """

    def __init__(self, root: Path, fresh: bool = False) -> None:
        self._root = root / version("lwmecps-gym")
        self._fresh = fresh
        self._seen: set[Path] = set()

    def get(
        self,
        kind: type[M],
        label: str,
        what: dict[str, Any],
        measure: Callable[[], M],
        holds: Callable[[M], bool] = lambda found: True,
    ) -> M:
        """What was kept, or else what `measure` finds, which is kept then.

        Args:
            kind: of the result.
            label: begins the name of the file.
            what: everything that the result depends on, as JSON.
            measure: finds it.
            holds: whether what was kept is still good.
        """
        text = json.dumps([kind.__name__, what], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        path = self._root / f"{label}-{digest}.json"
        if not self._fresh or path in self._seen:
            known = _read(kind, path)
            if known is not None and holds(known):
                return known
        found = measure()
        self._write(path, found.model_dump_json(indent=2))
        self._seen.add(path)
        return found

    def _write(self, path: Path, text: str) -> None:
        """All of a file or nothing of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)


def _read(kind: type[M], path: Path) -> M | None:
    """A kept result; None if it was not measured yet, or kept in another form."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
