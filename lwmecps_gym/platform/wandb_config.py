"""Tracking of trainings in Weights & Biases: one run per task.

Runs lie in `<data_dir>/wandb`. Without a key they stay there, and `wandb sync` sends them later.
Tracking watches a training and never ends it: what goes wrong with W&B is logged as a warning. What
the caller did wrong (a folder that is not there, an unknown mode) is raised.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import wandb

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.models import TrainingTask, slug

_logger = logging.getLogger(__name__)

# W&B does not take one call, and may take the next one.
_REFUSED = (wandb.errors.Error, ValueError)

_START_TIMEOUT_S = 30.0
_FINISH_TIMEOUT_S = 60.0
_LONGEST_NAME = 128


class Tracker:
    """The W&B run of one training task. Made by `start`."""

    def __init__(self, run: wandb.Run | None) -> None:
        self._run = run

    @classmethod
    def start(cls, settings: Settings, task: TrainingTask) -> "Tracker":
        """Open the run of a task; its id is the task's, so a resumed task goes on in it.

        Where W&B cannot be reached the run is kept offline; where that fails too, nothing is
        tracked. Takes at most half a minute.

        Raises:
            InvalidInputError: the mode in the settings is none.
        """
        mode = _mode(settings)
        if mode == "disabled":
            return cls(None)
        attempts: list[Literal["online", "offline"]] = (
            ["online", "offline"] if mode == "online" else ["offline"]
        )
        for attempt in attempts:
            try:
                return cls(_open_run(settings, task, attempt))
            except Exception as error:  # See _watched.
                _logger.warning(
                    "W&B cannot track training %s %s: %r; the training goes on",
                    task.id,
                    attempt,
                    error,
                )
        return cls(None)

    @property
    def run_id(self) -> str | None:
        """The id of the run, or None if nothing is tracked."""
        return None if self._run is None else self._run.id

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add values at a step; steps only go up."""
        with self._watched("values") as run:
            if run is not None:
                run.log(dict(values), step=step, commit=True)

    def log_model(
        self, name: str, directory: Path, metadata: Mapping[str, Any], aliases: Sequence[str]
    ) -> None:
        """Add the files of a folder to the run as an artifact of type `model`.

        Args:
            name: The model's name; its slug names the W&B artifact.
            directory: A folder of files that do not change any more, as of ArtifactStore.
            metadata: JSON values to show with it, at most 100 keys.
            aliases: Names for this version, such as `v3`.
        """
        files = sorted(file for file in directory.iterdir() if file.is_file())
        with self._watched("a model") as run:
            if run is not None:
                artifact = wandb.Artifact(slug(name), type="model", metadata=dict(metadata))
                for file in files:
                    # The files never change, so W&B needs no copies of its own.
                    artifact.add_file(str(file), policy="immutable", skip_cache=True)
                run.log_artifact(artifact, aliases=list(aliases))

    def finish(self, exit_code: int = 0) -> None:
        """Close the run; nothing is tracked afterwards.

        Waits at most a minute for an upload; what is left stays on the disk for `wandb sync`.

        Args:
            exit_code: 0 marks the run as finished, anything else as failed.
        """
        with self._watched("the end") as run:
            if run is not None:
                offline, folder = run.settings._offline, run.settings.sync_dir
                run.finish(exit_code=exit_code)
                if offline:
                    _logger.info("the W&B run is kept here; to send it: wandb sync %s", folder)
        self._run = None

    @contextmanager
    def _watched(self, what: str) -> Iterator[wandb.Run | None]:
        """Log what W&B raises; only its own calls belong inside.

        When its process dies or the disk is full, W&B raises OSError or classes of its private
        modules that share no base but Exception. Nothing can be tracked after one of those.
        """
        run_id = self.run_id
        try:
            yield self._run
        except _REFUSED as error:
            _logger.warning("W&B refuses %s of training %s: %s", what, run_id, error)
        except Exception:
            self._run = None
            _logger.warning(
                "W&B fails to take %s of training %s, which goes on without it",
                what,
                run_id,
                exc_info=True,
            )


def _mode(settings: Settings) -> Literal["online", "offline", "disabled"]:
    match settings.wandb_mode:
        case None:
            return "offline" if settings.wandb_api_key is None else "online"
        case "online" | "offline" | "disabled" as mode:
            return mode
        case other:
            raise InvalidInputError(
                f"WANDB_MODE is {other!r}; it must be online, offline or disabled"
            )


def _open_run(
    settings: Settings, task: TrainingTask, mode: Literal["online", "offline"]
) -> wandb.Run:
    folder = settings.data_dir.resolve() / "wandb"
    folder.mkdir(parents=True, exist_ok=True)
    # W&B keeps caches in the home folder, which in a container is often read-only.
    os.environ.setdefault("WANDB_CACHE_DIR", str(folder / "cache"))
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "data"))
    # A process started by one that tracks inherits the address of its W&B process, which can end
    # at any time; each process has its own.
    os.environ.pop("WANDB_SERVICE", None)
    wandb.setup(settings=wandb.Settings(silent=True))
    key = settings.wandb_api_key
    return wandb.init(
        id=task.id,
        name=task.name[:_LONGEST_NAME],
        project=settings.wandb_project,
        job_type="training",
        dir=folder.parent,
        resume="allow",
        reinit="create_new",
        config={
            "model_type": task.model_type,
            "parameters": task.parameters,
            "total_episodes": task.total_episodes,
            "scenario": task.scenario.get("name"),
            "env": task.env,
            "seed": task.seed,
        },
        settings=wandb.Settings(
            mode=mode,
            api_key=None if key is None else key.get_secret_value(),
            silent=True,
            console="off",
            save_code=False,
            disable_code=True,
            disable_git=True,
            init_timeout=_START_TIMEOUT_S,
            finish_timeout=_FINISH_TIMEOUT_S,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        ),
    )
