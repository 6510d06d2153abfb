"""What became of trainings that were accepted, read from the store and the artifacts."""

from collections.abc import Iterable

from pydantic import BaseModel, Field

from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import Store, open_store
from lwmecps_gym.platform.errors import LwmecpsError, NotFoundError
from lwmecps_gym.platform.models import ModelVersion, TaskState, TrainingTask


class Verdict(BaseModel):
    """What `lwmecps bench faults` counts; all but the first three and `resumed` should be 0."""

    rounds: int = Field(description="Kills.")
    tasks: int = Field(description="Trainings that were accepted.")
    lost: int = Field(description="Trainings that are not there, or were not completed.")
    duplicated: int = Field(
        description="Trainings with more than one version, or with an episode counted twice."
    )
    resumed: int = Field(description="How often a training went on from a checkpoint.")
    half_written: int = Field(description="Versions that are named but not there, whole.")

    @property
    def good(self) -> bool:
        """True if nothing was lost, done twice or half written."""
        return self.lost == self.duplicated == self.half_written == 0


def judge(settings: Settings, accepted: Iterable[str], rounds: int) -> Verdict:
    """Look at every training that was accepted, and at every version of a model.

    Args:
        settings: Of the platform that ran them.
        accepted: Their ids.
        rounds: How often something was killed.
    """
    store = open_store(settings)
    tasks = {task_id: _find(store, task_id) for task_id in accepted}
    there = [task for task in tasks.values() if task is not None]
    versions = [v for model in store.list_models() for v in store.list_versions(model.id)]
    made = {task.id: [v for v in versions if v.task_id == task.id] for task in there}
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    unnamed = [
        task
        for task in there
        if task.version is not None and task.version not in [v.version for v in made[task.id]]
    ]
    verdict = Verdict(
        rounds=rounds,
        tasks=len(tasks),
        lost=sum(task is None or task.state is not TaskState.COMPLETED for task in tasks.values()),
        duplicated=sum(
            len(made[task.id]) > 1 or not _counted_once(store, task)
            for task in there
            if task.state is TaskState.COMPLETED
        ),
        resumed=sum(task.resumed for task in there),
        half_written=len(unnamed) + sum(not _whole(artifacts, version) for version in versions),
    )
    store.close()
    return verdict


def _find(store: Store, task_id: str) -> TrainingTask | None:
    try:
        return store.get_task(task_id)
    except NotFoundError:
        return None


def _counted_once(store: Store, task: TrainingTask) -> bool:
    """Whether the history has each iteration once, and ends where the last episode was done."""
    lines = store.list_metrics(task.id, limit=1_000_000)
    steps = [line.env_steps for line in lines]
    episodes = [line.episode for line in lines]
    length = task.scenario["episode_steps"]
    return (
        [line.iteration for line in lines] == list(range(1, task.iteration + 1))
        and steps == sorted(set(steps))
        and episodes == [min(task.total_episodes, step // length) for step in steps]
        and episodes[-1] == task.episode == task.total_episodes
        and (len(steps) < 2 or steps[-2] // length < task.total_episodes)
    )


def _whole(artifacts: ArtifactStore, version: ModelVersion) -> bool:
    try:
        artifacts.load(version.digest)
    except LwmecpsError:
        return False
    return True
