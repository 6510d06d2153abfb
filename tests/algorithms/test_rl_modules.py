"""What RLlib trains is what is served: same weights, same scores."""

from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.dqn.default_dqn_rl_module import QF_PREDS
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from lwmecps_gym.algorithms.networks import NetworkConfig, to_tensors
from lwmecps_gym.algorithms.policy import NetworkScorer
from lwmecps_gym.algorithms.q_learning import QTable
from lwmecps_gym.algorithms.rl_modules import MaskedActorCritic, MaskedQNetwork
from lwmecps_gym.algorithms.table import Discretiser, Table
from lwmecps_gym.envs import make_vector_env
from lwmecps_gym.envs.scenario import load_scenario

EPSILON = [[0, 1.0], [1000, 0.1]]
CONFIGS = {
    MaskedActorCritic: {"hidden": [16]},
    MaskedQNetwork: {"hidden": [16], "dueling": True, "double_q": True, "epsilon": EPSILON},
    QTable: {
        "discretiser": Discretiser.of(load_scenario("tiny"), 3).model_dump(mode="json"),
        "initial_value": 0.0,
        "epsilon": EPSILON,
    },
}


def made(module_class: type[Any], env_id: str) -> tuple[Any, Any]:
    """A module for an environment on `tiny`, and observations [32, ...] from play at random."""
    env = make_vector_env(env_id, 32, scenario="tiny", random_start=True)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(6):
        observations, *_ = env.step(env.action_space.sample())
    torch.manual_seed(0)
    module = RLModuleSpec(
        module_class=module_class,
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        model_config=CONFIGS[module_class],
    ).build()
    return module, observations


def served(network: Any) -> NetworkScorer:
    state = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    config = NetworkConfig.model_validate(network.config.model_dump(mode="json"))
    return NetworkScorer(config, state)


@pytest.mark.parametrize("env_id", ["lwmecps-v2", "lwmecps-v3"])
def test_the_actors_logits_are_the_served_scores_and_the_illegal_have_no_probability(
    env_id: str,
) -> None:
    module, seen = made(MaskedActorCritic, env_id)
    batch = {Columns.OBS: to_tensors(seen)}
    with torch.no_grad():
        logits = module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]
        values = module.compute_values(batch)
    scores = served(module.network).scores(seen)
    legal = seen["action_mask"] == 1
    assert not legal.all()
    np.testing.assert_allclose(logits.numpy()[legal], scores[legal], rtol=1e-6)
    assert (scores[~legal] == -np.inf).all()
    probability = torch.softmax(logits, 1).numpy()
    assert (probability[~legal] == 0).all() and (probability[legal] > 0).all()
    assert values.shape == (32,) and torch.isfinite(values).all()


@pytest.mark.parametrize("env_id", ["lwmecps-v2", "lwmecps-v3"])
def test_action_values_are_the_served_scores_and_the_illegal_are_minus_infinity(
    env_id: str,
) -> None:
    module, seen = made(MaskedQNetwork, env_id)
    batch = {Columns.OBS: to_tensors(seen)}
    with torch.no_grad():
        values = module.compute_q_values(batch)[QF_PREDS].numpy()
    np.testing.assert_allclose(values, served(module.network).scores(seen), rtol=1e-6)
    assert ((values == -np.inf) == (seen["action_mask"] == 0)).all()


def test_the_target_network_is_a_masked_copy_that_does_not_follow_training() -> None:
    module, seen = made(MaskedQNetwork, "lwmecps-v2")
    batch = {Columns.OBS: to_tensors(seen)}
    module.make_target_networks()
    with torch.no_grad():
        before = module.forward_target(batch)[QF_PREDS]
        assert torch.equal(before, module.compute_q_values(batch)[QF_PREDS])
        for weight in module.network.parameters():
            weight.mul_(2)
        assert torch.equal(before, module.forward_target(batch)[QF_PREDS])
        assert not torch.equal(before, module.compute_q_values(batch)[QF_PREDS])


@pytest.mark.parametrize("t", [0, 10_000])
def test_exploring_q_networks_choose_legal_actions_only(t: int) -> None:
    module, seen = made(MaskedQNetwork, "lwmecps-v2")
    batch = {Columns.OBS: to_tensors(seen)}
    for _ in range(20):
        with torch.no_grad():
            chosen = module.forward_exploration(batch, t=t)[Columns.ACTIONS].numpy()
        assert seen["action_mask"][np.arange(32), chosen].all()


def test_the_tables_greedy_action_is_the_served_one() -> None:
    module, seen = made(QTable, "lwmecps-v1")
    module.q.normal_()
    chosen = module.forward_inference({Columns.OBS: torch.from_numpy(seen)})[Columns.ACTIONS]
    table = Table(module.discretiser, module.q.numpy())
    assert chosen.tolist() == table.scores(seen).argmax(1).tolist()


def test_the_table_explores_less_and_less() -> None:
    module, seen = made(QTable, "lwmecps-v1")
    module.q.normal_()
    batch = {Columns.OBS: torch.from_numpy(seen)}
    greedy = module.forward_inference(batch)[Columns.ACTIONS]

    def share_of_others(t: int) -> float:
        drawn = [module.forward_exploration(batch, t=t)[Columns.ACTIONS] for _ in range(100)]
        return float((torch.stack(drawn) != greedy).float().mean())

    others = 1 - 1 / module.q.shape[1]  # a random action is the greedy one now and then
    assert share_of_others(0) == pytest.approx(others, abs=0.05)
    assert share_of_others(1000) == pytest.approx(0.1 * others, abs=0.03)
