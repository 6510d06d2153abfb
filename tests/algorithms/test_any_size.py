"""One network plays clusters of any size, permuted, padded, masked, and from its file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.dqn.default_dqn_rl_module import QF_PREDS
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from safetensors.numpy import save_file

from lwmecps_gym.algorithms.any_size import AnySizeConfig, AnySizeNetwork
from lwmecps_gym.algorithms.networks import to_tensors
from lwmecps_gym.algorithms.policy import LearnedPolicy, load_policy, policy_from
from lwmecps_gym.algorithms.rl_modules import AnySizeActorCritic, AnySizeQNetwork
from lwmecps_gym.envs import make_vector_env
from lwmecps_gym.envs.actions import ActionTable
from lwmecps_gym.envs.encoding import CATCHMENT_FEATURES, make_encoding
from lwmecps_gym.envs.generate import edge_scenario
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.simulator import ClusterModel
from lwmecps_gym.platform.artifacts import MANIFEST, WEIGHTS
from lwmecps_gym.platform.errors import InvalidInputError

Arrays = dict[str, NDArray[Any]]
SERVICES, NODES = 3, 6
SCENARIO = edge_scenario(NODES, SERVICES, seed=1)
OPTIONS = {"catchment": True, "moves": False}


def network(dueling: bool = False) -> AnySizeNetwork:
    """A fresh network whose scores differ widely."""
    torch.manual_seed(3)
    net = AnySizeNetwork(AnySizeConfig(width=16, dueling=dueling))
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(2)
    return net.eval()


def played(scenario: Scenario, steps: int = 20, batch: int = 4) -> ClusterModel:
    """Clusters after some random actions."""
    model = ClusterModel(scenario, batch, moves=False)
    model.reset({i: np.random.default_rng(i) for i in range(batch)}, start_s=36_000)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        legal = model.legal()
        model.step(np.argmax(rng.random(legal.shape) * legal, axis=1))
    return model


def seen(model: ClusterModel, **options: Any) -> Arrays:
    encoding = make_encoding("lwmecps-v3", model.scenario, **{"catchment": True} | options)
    state = model.state()
    observation: Arrays = encoding.encode(state, encoding.actions.legal_in(state))
    return observation


def scores(observation: Arrays, dueling: bool = False) -> NDArray[np.float32]:
    with torch.inference_mode():
        return np.asarray(network(dueling)(to_tensors(observation)).numpy())


def renumbered(table: ActionTable, services: Any, nodes: Any) -> NDArray[np.int64]:
    """For each action the number that it has after services and nodes were permuted."""
    new_service, new_node = np.argsort(services), np.argsort(nodes)
    columns = (
        table.kind,
        np.where(table.service < 0, -1, new_service[table.service]),
        np.where(table.source < 0, -1, new_node[table.source]),
        np.where(table.target < 0, -1, new_node[table.target]),
    )
    keys = list(zip(table.kind, table.service, table.source, table.target, strict=True))
    number = {tuple(map(int, key)): index for index, key in enumerate(keys)}
    return np.array([number[tuple(map(int, key))] for key in zip(*columns, strict=True)])


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("moves", [False, True])
def test_permuting_services_and_nodes_permutes_the_scores(moves: bool, dueling: bool) -> None:
    before = seen(played(SCENARIO), moves=moves)
    services, nodes = np.array([2, 0, 1]), np.array([4, 1, 5, 0, 3, 2])
    table = ActionTable.of(SERVICES, NODES, moves)
    new = renumbered(table, services, nodes)
    after = {
        "nodes": before["nodes"][:, nodes],
        "services": before["services"][:, services],
        "pairs": before["pairs"][:, services][:, :, nodes],
        "catchment": before["catchment"][:, services][:, :, nodes],
        "clock": before["clock"],
        "action_mask": np.empty_like(before["action_mask"]),
    }
    after["action_mask"][:, new] = before["action_mask"]
    assert not np.array_equal(new, np.arange(len(table)))
    found, wanted = scores(after, dueling)[:, new], scores(before, dueling)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("moves", [False, True])
def test_padding_changes_no_score(moves: bool, dueling: bool) -> None:
    model = played(SCENARIO)
    wide = make_encoding("lwmecps-v3", SCENARIO, moves=moves, max_services=5, max_nodes=9)
    to_model = wide.to_model(np.arange(int(wide.action_space.n)))
    padded = scores(seen(model, moves=moves, max_services=5, max_nodes=9), dueling)
    assert (padded[:, to_model < 0] == -np.inf).all()
    plain = scores(seen(model, moves=moves), dueling)
    np.testing.assert_allclose(
        padded[:, to_model >= 0], plain[:, to_model[to_model >= 0]], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("moves", [False, True])
def test_the_illegal_are_minus_infinity_and_nothing_else_is(moves: bool) -> None:
    observation = seen(played(SCENARIO), moves=moves)
    mask = observation["action_mask"]
    assert 0 < mask.mean() < 1
    assert np.array_equal(np.isfinite(scores(observation)), mask == 1)


def test_a_move_is_scored_by_its_source_and_its_target() -> None:
    observation = seen(played(SCENARIO), moves=True)
    observation["action_mask"][:] = 1
    table = ActionTable.of(SERVICES, NODES, moves=True)
    found = scores(observation)[0]
    of_service = found[(table.kind == 3) & (table.service == 1)].reshape(NODES, NODES - 1)
    assert np.ptp(of_service, axis=0).min() > 0  # other sources, other scores
    assert np.ptp(of_service, axis=1).min() > 0


def test_an_untrained_network_follows_what_the_catchments_say_an_action_is_worth() -> None:
    observation = seen(played(edge_scenario(12, SERVICES, seed=1), steps=40), moves=False)
    torch.manual_seed(0)
    with torch.inference_mode():
        found = AnySizeNetwork(AnySizeConfig())(to_tensors(observation)).numpy()
    column = CATCHMENT_FEATURES.index
    estimates = observation["catchment"]
    worth = [estimates[..., column(name)] for name in ("gain", "gain_of_few")]
    worth += [-estimates[..., column(name)] for name in ("loss", "loss_of_few")]
    gain, loss = (
        np.sign(x) * np.log1p(np.abs(x)) for x in (np.stack(worth[:2]), np.stack(worth[2:]))
    )
    best = np.concatenate([gain.sum(0).reshape(4, -1), loss.sum(0).reshape(4, -1)], axis=1)
    best = np.where(observation["action_mask"][:, 1:] == 1, best, -np.inf)
    assert (found[:, 1:].argmax(1) == best.argmax(1)).all()


@pytest.mark.parametrize("nodes", [1, 4, 64])
def test_the_same_weights_score_clusters_of_all_sizes(nodes: int) -> None:
    observation = seen(played(edge_scenario(nodes, 2, seed=1), steps=5, batch=2))
    found = scores(observation)
    assert found.shape == observation["action_mask"].shape
    assert np.isfinite(found[observation["action_mask"] == 1]).all()


def observed(batch: int = 32) -> tuple[Any, Arrays]:
    env = make_vector_env("lwmecps-v3", batch, scenario=SCENARIO, random_start=True, **OPTIONS)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(6):
        observation, *_ = env.step(env.action_space.sample())
    return env, observation


def module(kind: type[Any], **config: Any) -> tuple[Any, Arrays]:
    env, observation = observed()
    torch.manual_seed(0)
    return RLModuleSpec(
        module_class=kind,
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        model_config={"width": 16, "rounds": 1} | config,
    ).build(), observation


def test_actor_and_critic_share_embeddings_and_the_illegal_have_no_probability() -> None:
    made, observation = module(AnySizeActorCritic, value_scale=100.0)
    batch = {Columns.OBS: to_tensors(observation)}
    with torch.no_grad():
        out = made.forward_train(batch)
        values = made.compute_values(batch)
        again = made.compute_values(batch, embeddings=out[Columns.EMBEDDINGS])
    assert torch.equal(values, again) and values.shape == (32,)
    assert values.std() > 1  # by the scale of returns
    probability = torch.softmax(out[Columns.ACTION_DIST_INPUTS], 1).numpy()
    assert np.array_equal(probability > 0, observation["action_mask"] == 1)


def test_action_values_and_their_target_know_no_illegal_actions() -> None:
    epsilon = [[0, 1.0], [1000, 0.1]]
    made, observation = module(AnySizeQNetwork, dueling=True, double_q=True, epsilon=epsilon)
    batch = {Columns.OBS: to_tensors(observation)}
    made.make_target_networks()
    with torch.no_grad():
        values = made.compute_q_values(batch)[QF_PREDS]
        assert torch.equal(values, made.forward_target(batch)[QF_PREDS])
    assert np.array_equal(np.isfinite(values.numpy()), observation["action_mask"] == 1)
    for _ in range(10):
        chosen = made.forward_exploration(batch, t=0)[Columns.ACTIONS].numpy()
        assert observation["action_mask"][np.arange(32), chosen].all()


def stored(folder: Path, **changes: Any) -> Path:
    """A model's folder, as a training on six nodes leaves it."""
    net = network()
    config = json.loads(net.config.model_dump_json()) | changes
    manifest = {
        "name": "fresh",
        "env": {"id": "lwmecps-v3", "options": OPTIONS},
        "scenario": SCENARIO.document(),
        "network": config,
        "temperature": 0.0,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    save_file({name: v.numpy() for name, v in net.state_dict().items()}, folder / WEIGHTS)
    return folder


def test_a_stored_model_acts_as_the_network_did(tmp_path: Path) -> None:
    policy = load_policy(stored(tmp_path))
    state = played(SCENARIO).state()
    wanted = scores(seen(played(SCENARIO), moves=False)).argmax(1)
    assert policy.act(state).tolist() == wanted.tolist()


@pytest.mark.parametrize("size", [(3, 4), (16, 2), (64, 3)])
def test_a_stored_model_plays_clusters_of_other_sizes_alone_and_side_by_side(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    loaded = load_policy(stored(tmp_path))
    other = edge_scenario(*size, seed=2)
    tensors = {name: value.numpy() for name, value in network().state_dict().items()}
    manifest = json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))
    policy: LearnedPolicy = policy_from(manifest, tensors, other)
    assert loaded.actions.nodes == NODES and policy.actions.nodes == size[0]
    model = played(other, steps=3, batch=3)
    state = model.state()
    together = policy.act(state)
    assert model.legal()[np.arange(3), together].all()
    single = ClusterModel(other, 1, moves=False)
    single.reset({0: np.random.default_rng(0)}, start_s=36_000)
    for _ in range(5):
        single.step(policy.act(single.state()))  # raises where an action is illegal


def test_a_model_that_was_trained_on_other_features_is_refused(tmp_path: Path) -> None:
    folder = stored(tmp_path, features=[["ready"], ["cpu"], ["up"]])
    with pytest.raises(InvalidInputError, match="lwmecps-v3 shows .* train it again"):
        load_policy(folder)
