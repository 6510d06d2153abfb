"""A user's RLlib class trains by name, and its module is served from its state alone."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.env.env_runner import EnvRunner
from torch import nn

from lwmecps_gym import register_algorithm
from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.networks import to_tensors
from lwmecps_gym.algorithms.parameters import PPOParameters
from lwmecps_gym.algorithms.policy import LearnedPolicy, load_policy
from lwmecps_gym.algorithms.registry import ALGORITHMS, import_algorithms
from lwmecps_gym.algorithms.rl_modules import MaskedQNetwork
from lwmecps_gym.algorithms.rllib_learner import RLlibLearner
from lwmecps_gym.algorithms.training import configure, make_manifest
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.errors import IllegalActionError, InvalidInputError
from lwmecps_gym.platform.models import TrainingRequest, TrainingTask

from ..pages import files_of
from .clusters import cluster, random_placement

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_session", "own_algorithms"),
    pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-single-agent-env-v0"),
]

SMALL: dict[str, Any] = {"num_envs": 2, "rollout_steps": 96, "minibatch_size": 96, "epochs": 2}


@pytest.fixture(scope="module")
def page(own_algorithms: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Registers the RLlib classes that the tutorial shows."""
    folder = tmp_path_factory.mktemp("page")
    files = files_of("algorithms/your-own.md")
    for name in ("own_module.py", "own_ppo.py"):
        (folder / name).write_text(files[name])
        import_algorithms([str(folder / name)])


def task_for(model_type: str, **parameters: Any) -> TrainingTask:
    return prepare(
        TrainingRequest(
            name="mine", model_type=model_type, parameters=parameters, total_episodes=4,
            scenario="tiny",
        )
    )  # fmt: skip


def train(task: TrainingTask, folder: Path) -> tuple[Any, Path]:
    """Train to the end; gives the module, and the folder of the model."""
    learner = RLlibLearner(task)
    try:
        episodes = 0
        while episodes < task.total_episodes:
            episodes = learner.train().episodes
        model = learner.export()
        store = ArtifactStore(folder)
        digest = store.put_files(model.files, make_manifest(task, model.architecture, {}))
        return learner._algorithm.get_module(), store.path(digest)
    finally:
        learner.stop()


def seen_by(policy: LearnedPolicy, count: int = 20) -> Any:
    """Observations [B, ...] of random placements."""
    rng = np.random.default_rng(0)
    nodes = len(policy.scenario.nodes)
    demand = rng.uniform(0, 40, (count, 1, nodes))
    states = [
        cluster(policy.scenario, random_placement(policy.scenario, rng), demand=each)
        for each in demand
    ]
    rows: Any = [policy.encoding.encode(s, policy.actions.legal_in(s)) for s in states]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def test_a_module_under_ppo_is_served_with_the_scores_that_it_was_trained_to(
    page: None, tmp_path: Path
) -> None:
    module, folder = train(task_for("one_body", **SMALL, hidden=[12]), tmp_path)
    assert type(module).__name__ == "OneBody" and module.body[0].out_features == 12
    policy = load_policy(folder)
    seen = seen_by(policy)
    with torch.inference_mode():
        out = module.forward_inference({Columns.OBS: to_tensors(seen)})
    wanted = out[Columns.ACTION_DIST_INPUTS].numpy()
    np.testing.assert_array_equal(policy._scorer.scores(seen), wanted)
    legal = seen["action_mask"][np.arange(20), policy.act_on(seen)]
    assert legal.all()


def test_a_module_under_dqn_is_served_by_its_action_values(tmp_path: Path) -> None:
    @register_algorithm("own_dqn", base="dqn")
    class Scaled(MaskedQNetwork):
        """A Q network with a gain of its own."""

        def setup(self) -> None:
            super().setup()
            self.gain = nn.Parameter(torch.ones(1))

        def compute_q_values(self, batch: dict[str, Any]) -> dict[str, Any]:
            return {name: self.gain * v for name, v in super().compute_q_values(batch).items()}

    parameters = {"num_envs": 2, "batch_size": 32, "learning_starts": 200, "hidden": [16],
                  "training_intensity": 1}  # fmt: skip
    module, folder = train(task_for("own_dqn", **parameters), tmp_path)
    policy = load_policy(folder)
    seen = seen_by(policy)
    with torch.inference_mode():
        ((_, values),) = module.compute_q_values({Columns.OBS: to_tensors(seen)}).items()
    assert policy.act_on(seen).tolist() == values.argmax(1).tolist()


class Chooser(TorchRLModule, ValueFunctionAPI):  # type: ignore[misc]
    """Learns by its logits, and at work names an action: the last legal one."""

    last = 0

    def setup(self) -> None:
        self.scores = nn.Linear(17, 7)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.scores(batch[Columns.OBS]["observations"])}

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        mask = batch[Columns.OBS]["action_mask"]
        return {Columns.ACTIONS: 6 - torch.argmax(mask.flip(1), dim=1) + self.last}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        return self.scores(batch[Columns.OBS]["observations"]).mean(1)


@pytest.fixture(scope="module")
def chooser(own_algorithms: None, ray_session: None, tmp_path_factory: Any) -> Path:
    """Folder of a model that was trained with `Chooser`."""
    register_algorithm("chooser")(Chooser)
    return train(task_for("chooser", **SMALL), tmp_path_factory.mktemp("chooser"))[1]


def test_a_module_that_names_actions_is_taken_at_its_word(chooser: Path) -> None:
    policy = load_policy(chooser)
    seen = seen_by(policy)
    wanted = [int(np.flatnonzero(mask)[-1]) for mask in seen["action_mask"]]
    assert policy.act_on(seen).tolist() == wanted


def test_an_action_of_a_module_that_the_mask_forbids_is_refused(
    chooser: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Chooser, "last", 1)
    policy = load_policy(chooser)
    with pytest.raises(IllegalActionError, match="model mine took action"):
        policy.act_on(seen_by(policy))


def test_a_class_that_makes_another_module_than_the_stored_one_is_refused(
    chooser: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Chooser, "setup", lambda self: setattr(self, "other", nn.Linear(17, 7)))
    with pytest.raises(InvalidInputError, match="Chooser has changed.*other.bias.*train it again"):
        load_policy(chooser)


def test_the_rllib_algorithm_of_the_page_trains_by_its_own_configuration(
    page: None, tmp_path: Path
) -> None:
    task = task_for("stock_ppo", num_envs=4)
    assert task.parameters == {"learning_rate": 0.001, "discount_factor": 0.9, "num_envs": 4}
    config = configure(task)
    assert config.algo_class.__name__ == "StockPPO"
    assert (config.lr, config.gamma, config.train_batch_size_per_learner) == (0.001, 0.9, 1024)
    _, folder = train(task, tmp_path)
    del ALGORITHMS["stock_ppo"], sys.modules["own_ppo"]
    policy = load_policy(folder)  # its network is one of ours
    assert seen_by(policy)["action_mask"][np.arange(20), policy.act_on(seen_by(policy))].all()


def test_parameters_of_ones_own_reach_the_configuration_and_the_module() -> None:
    class Mine(PPOParameters):
        lambda_: float = 0.5
        depth: int = 3

    @register_algorithm("calm", parameters=Mine)
    class Calm(PPOConfig):  # type: ignore[misc]
        """PPO, with a shorter trace."""

    register_algorithm("deep", parameters=Mine)(Chooser)
    config = configure(task_for("calm", lambda_=0.7, learning_rate=0.2))
    assert (config.lambda_, config.lr) == (0.7, 0.2)
    known = configure(task_for("deep", depth=5)).rl_module_spec
    assert known.module_class is Chooser and known.model_config["depth"] == 5


class OnlyDepth(BaseModel):
    depth: int = 3


REFUSED: dict[str, tuple[type, dict[str, Any], str]] = {
    "another base": (Chooser, {"base": "q_learning"}, "base must be ppo or dqn"),
    "neither": (EnvRunner, {}, "neither an Algorithm, an AlgorithmConfig nor an RLModule"),
    "parameters": (
        Chooser, {"parameters": OnlyDepth}, "need discount_factor, learning_rate, num_envs",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("made", "options", "reason"), REFUSED.values(), ids=REFUSED)
def test_an_rllib_class_that_cannot_be_trained_is_refused(
    made: type, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"^algorithm 'odd': .*{reason}"):
        register_algorithm("odd", **options)(made)


def test_a_module_with_a_state_is_refused() -> None:
    @register_algorithm("recurrent")
    class Recurrent(Chooser):
        """Remembers."""

        def get_initial_state(self) -> dict[str, Any]:
            return {"memory": np.zeros(3, np.float32)}

    with pytest.raises(InvalidInputError, match="'recurrent': its RLModule has a state"):
        RLlibLearner(task_for("recurrent", **SMALL))
