"""What an agent sees: every feature is what its name says, and padding changes none."""

from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from lwmecps_gym.envs.actions import ActionTable
from lwmecps_gym.envs.encoding import (
    NODE_FEATURES,
    PAIR_FEATURES,
    SERVICE_FEATURES,
    FlatEncoding,
    StructuredEncoding,
    make_encoding,
)
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.envs.simulator import ClusterModel
from lwmecps_gym.platform.errors import InvalidInputError

FOUR = load_scenario("four-stations")
Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def model() -> ClusterModel:
    """Two clusters of four stations, some steps into their day."""
    model = ClusterModel(FOUR, 2)
    model.reset({index: np.random.default_rng(index) for index in range(2)}, start_s=45_000)
    rng = np.random.default_rng(0)
    for _ in range(10):
        legal = model.legal()
        model.step(np.argmax(rng.random(legal.shape) * legal, axis=1))
    return model


def encoded(model: ClusterModel, **options: Any) -> tuple[StructuredEncoding, Arrays]:
    encoding = cast(StructuredEncoding, make_encoding("lwmecps-v3", FOUR, **options))
    return encoding, cast(Arrays, encoding.encode(model.state(), model.legal()))


def feature(arrays: Arrays, group: str, name: str) -> NDArray[Any]:
    names = {"nodes": NODE_FEATURES, "services": SERVICE_FEATURES, "pairs": PAIR_FEATURES}[group]
    return arrays[group][..., names.index(name)]


def test_the_vector_holds_the_documented_parts_in_order(model: ClusterModel) -> None:
    encoding = FlatEncoding(FOUR, masked=True, moves=True)
    state = model.state()
    observation = cast(Arrays, encoding.encode(state, model.legal()))
    vector = observation["observations"]
    parts = np.split(vector, np.cumsum([12, 12, 12, 12, 3, 8, 4]), axis=1)
    ready, starting, utilisation, demand, latency, free, up, clock = parts
    assert np.array_equal(ready, state.ready.reshape(2, 12))
    assert np.array_equal(starting, state.starting.reshape(2, 12))
    assert utilisation == pytest.approx(state.utilisation.reshape(2, 12))
    busy = state.demand / np.array([100, 60, 250])[:, None]
    assert demand == pytest.approx(busy.reshape(2, 12))
    assert latency == pytest.approx(state.latency_ms / (4 * np.array([40, 100, 50])))
    held = np.einsum("bsn,s->bn", state.replicas, [0.5, 0.25, 0.1])
    assert free.reshape(2, 4, 2)[..., 0] == pytest.approx(1 - held / [1.2, 1.2, 1.0, 0.75])
    held = 256 * state.replicas.sum(1)
    assert free.reshape(2, 4, 2)[..., 1] == pytest.approx(1 - held / 2048)
    assert (up == 1).all()
    angle = 2 * np.pi * (45_000 + 10 * 60) / 86_400
    assert clock == pytest.approx(np.tile([np.sin(angle), np.cos(angle)], (2, 1)))
    assert np.array_equal(observation["action_mask"], model.legal())


def test_structured_features_are_what_their_names_say(model: ClusterModel) -> None:
    _, arrays = encoded(model)
    state = model.state()
    total = state.demand.sum(-1)
    assert feature(arrays, "nodes", "cpu_cores") * 4 == pytest.approx(
        np.tile([1.2, 1.2, 1.0, 0.75], (2, 1))
    )
    assert feature(arrays, "nodes", "free_pods") == pytest.approx(1 - state.replicas.sum(1) / 110)
    assert feature(arrays, "services", "demand") == pytest.approx(total / [100, 60, 250] / 4)
    assert feature(arrays, "services", "slo") == pytest.approx(np.tile([0.4, 1, 0.5], (2, 1)))
    assert feature(arrays, "services", "replicas_left") == pytest.approx(
        (8 - state.replicas.sum(-1)) / 4
    )
    assert feature(arrays, "services", "ready") == pytest.approx(state.ready.sum(-1) / 4)
    cpu = 1.2 + 1.2 + 1.0 + 0.75
    assert feature(arrays, "services", "replica_cost") == pytest.approx(
        np.tile([0.2 * each / cpu * 4 for each in (0.5, 0.25, 0.1)], (2, 1))
    )
    assert feature(arrays, "services", "start_cost") == pytest.approx(np.full((2, 3), 0.02 * 4))
    assert np.array_equal(feature(arrays, "pairs", "ready"), state.ready)
    rtt = np.array([[2, 24, 36, 50], [24, 2, 20, 32], [36, 20, 2, 18], [50, 32, 18, 2]])
    mean_rtt = np.einsum("bsu,un->bsn", state.demand, rtt) / total[..., None]
    assert feature(arrays, "pairs", "rtt") * 100 == pytest.approx(mean_rtt)
    # every station is nearest to its own users
    rates = np.array([100, 60, 250])[:, None]
    assert feature(arrays, "pairs", "demand_nearest") == pytest.approx(state.demand / rates)
    spare = np.array([40 - 10, 100 - 1000 / 60, 50 - 4])
    within = np.einsum("bsu,sun->bsn", state.demand, rtt <= spare[:, None, None])
    assert feature(arrays, "pairs", "within_slo") == pytest.approx(within / total[..., None])
    table = ActionTable.of(3, 4)
    s, n = np.indices((3, 4))
    assert np.array_equal(  # no service is at its maximum here
        feature(arrays, "pairs", "has_room"), model.legal()[:, table.place(s, n)]
    )


def test_padding_changes_no_feature_and_adds_only_zeros(model: ClusterModel) -> None:
    _, plain = encoded(model, catchment=True)
    _, padded = encoded(model, max_services=5, max_nodes=7, catchment=True)
    assert padded["pairs"].shape == (2, 5, 7, len(PAIR_FEATURES))
    for name, where in (
        ("nodes", np.s_[:, :4]),
        ("services", np.s_[:, :3]),
        ("pairs", np.s_[:, :3, :4]),
        ("catchment", np.s_[:, :3, :4]),
        ("clock", np.s_[:]),
    ):
        assert np.array_equal(padded[name][where], plain[name])
        rest = padded[name].copy()
        rest[where] = 0
        assert not rest.any()


def test_padded_actions_mean_the_same_and_padding_is_never_legal(model: ClusterModel) -> None:
    encoding, arrays = encoded(model, max_services=5, max_nodes=7)
    wide, own = ActionTable.of(5, 7), ActionTable.of(3, 4)
    assert encoding.action_space == gym.spaces.Discrete(len(wide))
    names = [f"s{s}" for s in range(5)], [f"n{n}" for n in range(7)]
    to_model = encoding.to_model(np.arange(len(wide)))
    assert sorted(to_model[to_model >= 0]) == list(range(len(own)))
    for action in range(len(wide)):
        if to_model[action] < 0:
            assert wide.service[action] >= 3 or max(wide.source[action], wide.target[action]) >= 4
            assert not arrays["action_mask"][:, action].any()
        else:
            assert own.describe(int(to_model[action]), *names) == wide.describe(action, *names)
            legal = model.legal()[:, to_model[action]]
            assert np.array_equal(arrays["action_mask"][:, action], legal)


def test_many_moves_are_left_out_unless_asked_for() -> None:
    assert make_encoding("lwmecps-v2", FOUR).actions.moves
    assert not make_encoding("lwmecps-v2", FOUR, moves=False).actions.moves
    assert not make_encoding("lwmecps-v3", FOUR, max_services=10, max_nodes=40).actions.moves
    few = make_encoding("lwmecps-v3", FOUR, max_services=10, max_nodes=40, moves=True)
    assert few.action_space.n == 1 + 2 * 400 + 400 * 39


def test_an_encoding_that_does_not_fit_the_scenario_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="max_nodes 3: scenario four-stations has .*4 n"):
        make_encoding("lwmecps-v3", FOUR, max_nodes=3)
    with pytest.raises(InvalidInputError, match="lwmecps-v1 places one service.* has 3"):
        make_encoding("lwmecps-v1", FOUR)
    with pytest.raises(InvalidInputError, match="'lwmecps-v4' is none of"):
        make_encoding("lwmecps-v4", FOUR)
