"""A model is loaded from its folder or refused, and then only takes legal actions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from lwmecps_gym.algorithms.policy import load_policy, policy_from
from lwmecps_gym.envs.encoding import make_encoding
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel
from lwmecps_gym.platform.errors import InvalidInputError

from .clusters import changed, cluster, failing, random_placement
from .models import Model, network_model, policy_of, scores_of, table_model

TINY = load_scenario("tiny")
MODELS = {
    "v1 table": table_model(),
    "v2": network_model("lwmecps-v2", "four-stations"),
    "v2 at a temperature": network_model("lwmecps-v2", "four-stations", temperature=1.0),
    "v2 dueling": network_model("lwmecps-v2", "four-stations", dueling=True),
    "v3": network_model("lwmecps-v3", "four-stations"),
    "v3 padded": network_model("lwmecps-v3", "four-stations", max_services=5, max_nodes=6),
}


def write(folder: Path, model: Model) -> Path:
    manifest, tensors = model
    (folder / "manifest.json").write_text(json.dumps(manifest))
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_policy_keeps_to_legal_actions_while_nodes_fail(model: Model) -> None:
    policy = policy_of(model)
    names = [service.name for service in policy.scenario.services]
    scenario = failing("tiny" if names == ["video"] else "four-stations")
    policy = policy_from(*model, scenario)
    batch = ClusterModel(scenario, 16, moves=policy.actions.moves)
    batch.reset({b: np.random.default_rng(b) for b in range(16)})
    policy.reset(16)
    for _ in range(120):
        batch.step(policy.act(batch.state()))  # the model refuses illegal ones


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_model_read_from_its_folder_decides_as_the_one_written(
    model: Model, tmp_path: Path
) -> None:
    policy, loaded = policy_of(model), load_policy(write(tmp_path, model))
    rng = np.random.default_rng(0)
    for _ in range(20):
        demand = rng.uniform(0, 40, (len(policy.scenario.services), len(policy.scenario.sites)))
        state = cluster(policy.scenario, random_placement(policy.scenario, rng), demand=demand)
        assert loaded.act(state).tolist() == policy.act(state).tolist()


def test_without_temperature_the_legal_action_with_the_best_score_is_taken() -> None:
    policy = policy_of(MODELS["v2"])
    state = cluster(policy.scenario, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    legal = policy.actions.legal_in(state)
    observation: Any = policy.encoding.encode(state, legal)
    scores = scores_of(MODELS["v2"], observation)[0]
    assert policy.act(state).tolist() == [int(np.argmax(np.where(legal[0], scores, -np.inf)))]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_at_a_temperature_actions_are_drawn_by_the_softmax_of_scores(temperature: float) -> None:
    model = network_model(scenario="tiny", temperature=temperature)
    policy = policy_of(model, seed=1)
    state = cluster(TINY, [[1, 1]], demand=[[20, 10]])
    observation: Any = policy.encoding.encode(state, policy.actions.legal_in(state))
    weights = np.exp(scores_of(model, observation)[0] / temperature)
    draws = 40_000
    many = {name: np.repeat(values, draws, axis=0) for name, values in observation.items()}
    drawn = np.bincount(policy.act_on(many), minlength=len(policy.actions)) / draws
    expected = weights / weights.sum()
    assert (drawn[expected == 0] == 0).all()
    assert expected[expected > 0].min() > 0.001 and expected.max() < 0.9  # worth a comparison
    assert drawn == pytest.approx(expected, abs=4 * np.sqrt(0.25 / draws))


def test_draws_begin_anew_with_reset_and_depend_on_the_seed() -> None:
    model = MODELS["v2 at a temperature"]

    def draws(seed: int) -> NDArray[np.int64]:
        policy = policy_of(model, seed=seed)
        scenario = policy.scenario
        state = cluster(scenario, random_placement(scenario, np.random.default_rng(3)))
        first = [policy.act(state) for _ in range(30)]
        policy.reset(1)
        assert [policy.act(state) for _ in range(30)] == first
        return np.concatenate(first)

    assert (draws(0) == draws(0)).all()
    assert (draws(0) != draws(1)).any()


def without(key: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest[key]
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return damage


def having(**entries: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text()) | entries
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return damage


def weighing(**tensors: NDArray[Any] | None) -> Callable[[Path], None]:
    """Replace tensors, or leave out those that are None."""

    def damage(folder: Path) -> None:
        weights = {**network_model()[1], **tensors}
        kept = {name: value for name, value in weights.items() if value is not None}
        save_file(kept, folder / "model.safetensors")

    return damage


NETWORK = network_model()[0]["network"]
DAMAGES: dict[str, Callable[[Path], Any]] = {
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no JSON": lambda folder: (folder / "manifest.json").write_text("{"),
    "no UTF-8": lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe{}"),
    "a list": lambda folder: (folder / "manifest.json").write_text("[]"),
    "no safetensors": lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 64),
    "cut weights": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:-8]
    ),
    "no name": without("name"),
    "no env": without("env"),
    "no scenario": without("scenario"),
    "no network": without("network"),
    "env is a word": having(env="lwmecps-v2"),
    "unknown env": having(env={"id": "lwmecps-v9", "options": {}}),
    "unknown option": having(env={"id": "lwmecps-v2", "options": {"colour": 1}}),
    "unknown service": having(env={"id": "lwmecps-v1", "options": {}, "service": "games"}),
    "damaged scenario": having(scenario={"name": "x"}),
    "unknown kind": having(network={**NETWORK, "kind": "tree"}),
    "other inputs": having(network={**NETWORK, "inputs": 5}),
    "other outputs": having(network={**NETWORK, "outputs": 5}),
    "temperature is a word": having(temperature="warm"),
    "a tensor less": weighing(**{"body.0.bias": None}),
    "a tensor more": weighing(extra=np.zeros(3, np.float32)),
    "a tensor of another shape": weighing(**{"body.0.bias": np.zeros(3, np.float32)}),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_folder_that_holds_no_such_model_is_refused_by_name(
    damage: Callable[[Path], Any], tmp_path: Path
) -> None:
    damage(write(tmp_path, network_model()))
    with pytest.raises(InvalidInputError):
        load_policy(tmp_path)


def test_a_refusal_names_the_folder_and_the_reason(tmp_path: Path) -> None:
    without("network")(write(tmp_path, network_model()))
    with pytest.raises(InvalidInputError) as refused:
        load_policy(tmp_path)
    assert str(tmp_path) in str(refused.value) and "network" in str(refused.value)


def test_a_table_of_another_size_is_refused(tmp_path: Path) -> None:
    manifest, tensors = table_model()
    with pytest.raises(InvalidInputError, match="action values of"):
        load_policy(write(tmp_path, (manifest, {"q": tensors["q"][:-1]})))
    with pytest.raises(InvalidInputError, match="decides among 4 actions"):
        load_policy(write(tmp_path, (manifest, {"q": tensors["q"][:, :4].copy()})))


def test_a_model_plays_another_scenario_of_the_same_size() -> None:
    slower = changed("tiny", timeout_ms=900)
    assert policy_from(*network_model(), slower).scenario is slower


@pytest.mark.parametrize(
    ("model", "scenario"),
    [
        (network_model(), load_scenario("four-stations")),
        (table_model(), load_scenario("four-stations").only("video")),
        (
            network_model(),
            changed(
                "tiny",
                sites=[{"name": f"s{u}", "rtt_ms": {"bs_1": 2, "bs_2": 9}} for u in range(3)],
                workload={
                    "poisson": {
                        "mean_users": {"s0": 1, "s1": 1, "s2": 1},
                        "share": {"video": {"mean": 1}},
                    }
                },
            ),
        ),
    ],
    ids=["other nodes", "other nodes for a table", "other sites"],
)
def test_a_scenario_of_another_size_is_refused_by_name(model: Model, scenario: Scenario) -> None:
    with pytest.raises(InvalidInputError, match=f"{scenario.name}.*train one"):
        policy_from(*model, scenario)


def test_an_observation_without_a_mask_is_answered_by_a_legal_action() -> None:
    model = table_model()
    model[1]["q"][:] = [0, 1, 2, 9, 8]  # likes best to remove from bs_1, then from bs_2
    policy = policy_of(model)
    encoding = make_encoding("lwmecps-v1", policy.scenario)

    def act_on(ready: list[int], node_up: list[bool] | None = None) -> int:
        state = cluster(policy.scenario, [ready], node_up=node_up)
        encoded = encoding.encode(state, encoding.actions.legal_in(state))
        assert policy.act_on(encoded).tolist() == policy.act(state).tolist()
        return int(policy.act_on(encoded)[0])

    assert act_on([1, 1]) == 3
    assert act_on([0, 2]) == 4
    assert act_on([1, 0]) == 2  # the last one stays; to place on bs_2 is next best
    assert act_on([1, 0], node_up=[True, False]) == 1
    assert act_on([0, 0], node_up=[False, False]) == 0
