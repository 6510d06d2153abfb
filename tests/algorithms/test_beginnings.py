"""A training that begins several times goes on with the best, and survives in between."""

import json
from pathlib import Path
from typing import Any

import pytest

from lwmecps_gym.algorithms.beginnings import Beginnings
from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.entries import Export, Iteration
from lwmecps_gym.algorithms.registry import entry_of
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.checkpoints import Reached
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.models import TrainingRequest, TrainingTask

STEPS = 12
SHORT = load_scenario("tiny").document() | {"name": "short", "episode_steps": STEPS}
SMALL: dict[str, Any] = {
    "num_envs": 2, "rollout_steps": 24, "minibatch_size": 32, "epochs": 1, "hidden": [8],
}  # fmt: skip


def task_for(episodes: int, **parameters: Any) -> TrainingTask:
    return prepare(
        TrainingRequest(
            name="n", model_type="ppo", total_episodes=episodes, scenario=SHORT, seed=5,
            parameters=SMALL | parameters,
        )
    )  # fmt: skip


class Talented:
    """Plays an episode at a time; how well is a matter of its seed, and of practice."""

    made: list["Talented"]

    def __init__(self, task: TrainingTask) -> None:
        self.talent, self.episodes, self.stopped = task.seed % 97, 0, False
        self.planned = task.total_episodes
        self.made.append(self)

    def train(self) -> Iteration:
        assert not self.stopped
        self.episodes += 1
        reward = self.talent + self.episodes / 1000
        return Iteration(
            self.episodes, self.episodes * STEPS, reward * STEPS, {"step_reward": reward}
        )

    def save(self, folder: Path) -> None:
        (folder / "state").write_text(json.dumps([self.talent, self.episodes]))

    def restore(self, folder: Path, reached: Reached) -> None:
        self.talent, self.episodes = json.loads((folder / "state").read_text())

    def export(self) -> Export:
        return Export({"talent": str(self.talent).encode()}, {})

    @staticmethod
    def judge(model: Export) -> float:
        return float(model.files["talent"])

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Talented]:
    found: list[Talented] = []
    monkeypatch.setattr(Talented, "made", found, raising=False)
    return found


def test_the_best_beginning_goes_on_from_where_it_was(made: list[Talented]) -> None:
    learner = Beginnings(task_for(100), Talented, Talented.judge, 4, 0.1)
    done = [learner.train() for _ in range(100)]
    assert [each.env_steps for each in done] == [STEPS * (1 + i) for i in range(100)]
    assert [each.episodes for each in done] == list(range(1, 101))
    talents = [each.talent for each in made[:4]]
    assert len(set(talents)) == 4 and len(made) == 5
    assert learner.export().files == {"talent": str(max(talents)).encode()}
    assert made[4].episodes == 70 == made[0].planned
    assert all(each.stopped for each in made[:4])
    learner.stop()
    assert made[4].stopped


@pytest.mark.parametrize("after", [3, 10, 15, 40, 77])
def test_it_goes_on_from_a_checkpoint_at_any_time(
    after: int, made: list[Talented], tmp_path: Path
) -> None:
    task = task_for(100)
    whole = Beginnings(task, Talented, Talented.judge, 4, 0.1)
    expected = [whole.train() for _ in range(100)]
    first = Beginnings(task, Talented, Talented.judge, 4, 0.1)
    for _ in range(after):
        first.train()
    first.save(tmp_path)
    first.stop()
    again = Beginnings(task, Talented, Talented.judge, 4, 0.1)
    again.restore(tmp_path, Reached())
    assert [again.train() for _ in range(after, 100)] == expected[after:]
    assert again.export() == whole.export()
    again.stop()
    whole.stop()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
@pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-single-agent-env-v0")
def test_ppo_begins_anew_and_is_the_one_that_was_best(tmp_path: Path) -> None:
    task = task_for(60, beginnings=3, beginning_share=0.2)
    learner = entry_of("ppo").begin(task)
    assert isinstance(learner, Beginnings)
    weights, done = [], None
    while done is None or done.episodes < 36:
        done = learner.train()
        weights.append(learner.export().files)
    turns = [weights[i] for i in (2, 5)]  # the last of the first and of the second beginning
    assert done.env_steps == 36 * STEPS and turns[0] != turns[1]
    learner.save(tmp_path)
    again = entry_of("ppo").begin(task)
    again.restore(tmp_path, Reached())
    assert again.export() == learner.export()
    assert again.train().env_steps == 40 * STEPS
    for each in (learner, again):
        each.stop()


def test_beginnings_that_leave_nothing_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="beginnings 5 x beginning_share 0.2 leave nothing"):
        task_for(60, beginnings=5, beginning_share=0.2)
