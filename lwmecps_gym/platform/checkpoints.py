"""Checkpoints of a training, each of them whole or not there.

    <root>/<attempt>-<iteration>/reached.json    how far the training was
    <root>/<attempt>-<iteration>/learner/        what its learner wrote

A checkpoint is written under another name, forced to the disk, and renamed. The last two are kept.
A later attempt's counts for more than an earlier one's, so an attempt that was taken for dead and
wakes up cannot put its own in front.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lwmecps_gym.platform.errors import StoreUnavailableError

KEPT = 2
REACHED = "reached.json"
LEARNER = "learner"
_UNFINISHED = ".new-"


def folder_of(data_dir: Path, task_id: str) -> Path:
    """Return the folder of a task's checkpoints."""
    return data_dir / "checkpoints" / task_id


class Reached(BaseModel):
    """How far a training was; its fields are those of the task."""

    model_config = ConfigDict(extra="forbid")

    iteration: int = 0
    episode: int = 0
    env_steps: int = 0
    episode_return: float | None = None
    first_return: float | None = None
    spent_s: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that can be gone on from."""

    learner: Path
    """Folder of what the learner wrote."""
    reached: Reached


class Checkpoints:
    """The checkpoints of one task.

    Args:
        root: Their folder; it is made with the first one.
        attempt: The attempt that writes.
    """

    def __init__(self, root: Path, attempt: int) -> None:
        self._root = root
        self._attempt = attempt

    def latest(self) -> Checkpoint | None:
        """The last whole checkpoint, None before the first."""
        folders = self._whole()
        if not folders:
            return None
        reached = Reached.model_validate_json((folders[-1] / REACHED).read_text())
        return Checkpoint(folders[-1] / LEARNER, reached)

    def write(self, save: Callable[[Path], None], reached: Reached) -> None:
        """Write a checkpoint and forget those before the last but one.

        Args:
            save: Writes what the learner needs into a folder that exists.
            reached: How far it is.

        Raises:
            StoreUnavailableError: The folder cannot be written, or the disk is full; the earlier
                checkpoints are as they were.
        """
        name = f"{self._attempt:06d}-{reached.iteration:010d}"
        if (self._root / name).exists():
            return
        unfinished = self._root / f"{_UNFINISHED}{name}"
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            (unfinished / LEARNER).mkdir(parents=True)
            try:
                save(unfinished / LEARNER)
                (unfinished / REACHED).write_text(reached.model_dump_json())
                _force_to_disk(unfinished)
                unfinished.rename(self._root / name)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            _force_to_disk(self._root, recursively=False)
        except OSError as error:
            raise StoreUnavailableError(
                f"the checkpoint {self._root / name} cannot be written: {error};"
                " see that the folder is writable and the disk has room"
            ) from error
        self.tidy()

    def tidy(self) -> None:
        """Remove all but the last two, and what dead attempts left unfinished."""
        stale = self._whole()[:-KEPT]
        mine = f"{_UNFINISHED}{self._attempt:06d}-"
        stale += [each for each in self._root.glob(f"{_UNFINISHED}*") if each.name < mine]
        for folder in stale:
            shutil.rmtree(folder, ignore_errors=True)

    def _whole(self) -> list[Path]:
        """Folders of whole checkpoints, the last one last."""
        return sorted(self._root.glob("[0-9]*-[0-9]*"))


def _force_to_disk(folder: Path, recursively: bool = True) -> None:
    for path in (*(folder.rglob("*") if recursively else ()), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
