"""Tracking of trainings in Weights & Biases: one run per task, or per trial of a sweep.

Runs lie in `<data_dir>/wandb`. Without a key they stay there, and `wandb sync` sends them later.
Tracking watches a training and never ends it: what goes wrong with W&B is logged as a warning. What
the caller did wrong (a folder that is not there, an unknown mode) is raised.
"""

import logging
import os
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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

# This process's runs that are open, and what counts them.
_open_ids: set[str] = set()
_open_lock = threading.Lock()


@dataclass(frozen=True)
class TrackedRun:
    """What W&B is told of a run when it begins.

    Attributes:
        id: Of at most 128 letters, digits, dashes and underscores; a run of the same id goes on.
        name: What people see.
        config: What the run was asked to do, as JSON values.
        group: The runs that it belongs with, if it does.
        pid: The process whose CPU and memory W&B measures beside the machine's; None: measure
            nothing, the run is on another machine.
    """

    id: str
    name: str
    config: Mapping[str, Any]
    group: str | None = None
    pid: int | None = None


class Tracker:
    """A W&B run. Made by `start` or `open`."""

    def __init__(self, run: wandb.Run | None) -> None:
        self._run = run

    @classmethod
    def start(cls, settings: Settings, task: TrainingTask) -> "Tracker":
        """Open the run of a task; its id is the task's, so a resumed task goes on in it.

        W&B measures this process and its machine beside. Otherwise as `open`.
        """
        config = {
            "model_type": task.model_type,
            "parameters": task.parameters,
            "total_episodes": task.total_episodes,
            "scenario": task.scenario.get("name"),
            "env": task.env,
            "seed": task.seed,
        }
        return cls.open(settings, TrackedRun(task.id, task.name, config, pid=os.getpid()))

    @classmethod
    def open(cls, settings: Settings, wanted: TrackedRun) -> "Tracker":
        """Open a run.

        Where W&B cannot be reached the run is kept offline; where that fails too, nothing is
        tracked. Takes at most half a minute.

        Raises:
            InvalidInputError: the mode in the settings is none.
        """
        mode = tracking_mode(settings)
        if mode == "disabled":
            return cls(None)
        attempts: list[Literal["online", "offline"]] = (
            ["online", "offline"] if mode == "online" else ["offline"]
        )
        for attempt in attempts:
            try:
                return cls(_open_run(settings, wanted, attempt))
            except Exception as error:  # See _watched.
                _logger.warning(
                    "W&B cannot track training %s %s: %r; the training goes on",
                    wanted.id,
                    attempt,
                    error,
                )
        return cls(None)

    @property
    def run_id(self) -> str | None:
        """The id of the run, or None if nothing is tracked."""
        return None if self._run is None else self._run.id

    @property
    def offline(self) -> bool:
        """Whether there is a run, and it is only kept on the disk."""
        return self._run is not None and bool(self._run.settings._offline)

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

        Waits at most a minute for an upload; what is left stays on the disk for `wandb sync`. An
        offline run is whole on the disk once no run of this process is open.

        Args:
            exit_code: 0 marks the run as finished, anything else as failed.
        """
        with self._watched("the end") as run:
            if run is not None:
                offline, folder = self.offline, run.settings.sync_dir
                run.finish(exit_code=exit_code)
                _closed(run.id, offline)
                if offline:
                    command = f"wandb sync {shlex.quote(folder)}"
                    _logger.info("the W&B run is kept here; to send it: %s", command)
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
            _forget(run_id)
            _logger.warning(
                "W&B fails to take %s of training %s, which goes on without it",
                what,
                run_id,
                exc_info=True,
            )


def tracking_mode(settings: Settings) -> Literal["online", "offline", "disabled"]:
    """Return how runs are tracked; InvalidInputError for a mode that is none."""
    match settings.wandb_mode:
        case None:
            return "offline" if settings.wandb_api_key is None else "online"
        case "online" | "offline" | "disabled" as mode:
            return mode
        case other:
            raise InvalidInputError(
                f"WANDB_MODE is {other!r}; it must be online, offline or disabled"
            )


def _closed(run_id: str, offline: bool) -> None:
    """Wait until W&B's own process has written all, by ending it, if it has no other runs.

    Its answer to the end of an offline run comes before it has written; and whoever ends this
    process, as Ray does, may end that one in the middle. An online run has had its time by then.
    """
    with _open_lock:
        _open_ids.discard(run_id)
        if offline and not _open_ids:
            wandb.teardown()


def _forget(run_id: str | None) -> None:
    with _open_lock:
        _open_ids.difference_update({run_id})


def _open_run(
    settings: Settings, wanted: TrackedRun, mode: Literal["online", "offline"]
) -> wandb.Run:
    with _open_lock:
        _open_ids.add(wanted.id)
    try:
        return _init_run(settings, wanted, mode)
    except BaseException:
        _forget(wanted.id)
        raise


def _init_run(
    settings: Settings, wanted: TrackedRun, mode: Literal["online", "offline"]
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
        id=wanted.id,
        name=wanted.name[:_LONGEST_NAME],
        project=settings.wandb_project,
        group=wanted.group,
        job_type="training" if wanted.group is None else "trial",
        dir=folder.parent,
        resume="allow",
        reinit="create_new",
        config=dict(wanted.config),
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
            x_disable_stats=wanted.pid is None,
            x_stats_pid=wanted.pid or os.getpid(),
            x_disable_meta=True,
            x_save_requirements=False,
        ),
    )
