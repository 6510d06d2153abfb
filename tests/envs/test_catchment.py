"""What catchments say: whose requests a node gets or would get, and what a replica is worth."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lwmecps_gym.envs.catchment import Catchment, find_catchment
from lwmecps_gym.envs.cluster import ClusterState
from lwmecps_gym.envs.generate import edge_scenario
from lwmecps_gym.envs.performance import cost_terms, evaluate
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel

FOUR = load_scenario("four-stations")
HELD = np.array([[1, 0, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0]])
NEAREST_HOST = np.array([[0, 0, 3, 3], [1, 1, 1, 1]])
"""Of the first two services, by site."""


def state(demand: NDArray[np.float64], starting: NDArray[np.int64] | None = None) -> ClusterState:
    """`HELD` on the four stations under `demand` [S, U], some of it starting."""
    model = ClusterModel(FOUR)
    model.reset({0: np.random.default_rng(0)}, placement=HELD)
    late = np.zeros_like(HELD) if starting is None else starting
    return replace(
        model.state(), ready=(HELD - late)[None], starting=late[None], demand=demand[None]
    )


def demand(rps: float) -> NDArray[np.float64]:
    return rps * np.random.default_rng(1).uniform(0.5, 1.5, (3, 4))


def catchment(asked: NDArray[np.float64], starting: NDArray[np.int64] | None = None) -> Catchment:
    return find_catchment(FOUR, state(asked, starting))


def users_cost(scenario: Scenario, now: ClusterState, placement: NDArray[np.int64]) -> float:
    """Latency and violation terms of the model, times all requests."""
    performance = evaluate(scenario, now.params, placement[None], now.demand)
    terms = cost_terms(scenario, now.params, placement[None], performance, np.zeros(1))
    return float((terms["latency"] + terms["violation"])[0] * now.demand.sum())


def true_gain_and_loss(
    scenario: Scenario, now: ClusterState
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the model says of one replica more and one less everywhere, [S, N]."""
    held = now.replicas[0]
    gain, loss = np.zeros((2, *held.shape))
    here = users_cost(scenario, now, held)
    for s, n in np.ndindex(held.shape):
        change = np.zeros_like(held)
        change[s, n] = 1
        gain[s, n] = here - users_cost(scenario, now, held + change)
        if held[s, n]:
            loss[s, n] = users_cost(scenario, now, held - change) - here
    return gain, loss


def test_hosts_get_the_requests_of_the_sites_that_they_are_nearest_to() -> None:
    asked = demand(1)
    got = catchment(asked).requests[0]
    for s in range(2):
        for n in np.flatnonzero(HELD[s]):
            assert got[s, n] == pytest.approx(asked[s, NEAREST_HOST[s] == n].sum())


def test_a_node_without_replicas_would_get_what_is_nearer_to_it_than_to_any_host() -> None:
    asked = demand(1)
    got = catchment(asked).requests[0]
    assert got[0, 1] == pytest.approx(asked[0, 1])
    assert got[1, 0] == pytest.approx(asked[1, 0])
    assert got[1, 3] == pytest.approx(asked[1, 2] + asked[1, 3])  # bs_3: 18 ms, to bs_2 20 ms
    assert got[2] == pytest.approx(np.full(4, asked[2].sum()))  # no host: whoever comes first


def test_what_a_full_host_cannot_admit_goes_to_the_next_and_would_go_to_those_between() -> None:
    asked = np.zeros((3, 4))
    asked[0, 0] = 180.0  # bs_1's one replica admits 90; the next host is bs_4
    assert catchment(asked).requests[0, 0] == pytest.approx([180, 90, 90, 90])


def test_gain_and_loss_are_the_model_s_own_while_nothing_queues() -> None:
    now = state(demand(0.001))
    found = find_catchment(FOUR, now)
    gain, loss = true_gain_and_loss(FOUR, now)
    assert found.gain[0] == pytest.approx(gain, rel=1e-2, abs=1e-6 * gain.max())
    assert found.loss[0] == pytest.approx(loss, rel=1e-2, abs=1e-6 * gain.max())


def test_gain_and_loss_rank_replicas_as_the_model_does_in_a_busy_cluster() -> None:
    scenario = edge_scenario(6, 3, seed=900)
    model = ClusterModel(scenario, kernel="compiled")
    model.reset({0: np.random.default_rng(0)}, start_s=30_000)
    agreement = []
    for t in range(120):  # always the place that is estimated to be best
        now = model.state()
        found = find_catchment(scenario, now)
        if t % 20 == 19:
            gain, loss = true_gain_and_loss(scenario, now)
            held = now.replicas[0] > 0
            agreement.append(np.corrcoef(gain.ravel(), found.gain[0].ravel())[0, 1])
            agreement.append(np.corrcoef(loss[held], found.loss[0][held])[0, 1])
        table, legal = model.actions, model.legal()[0]
        place = table.place(*np.indices(found.gain[0].shape))
        best = int(np.argmax(np.where(legal[place], found.gain[0], -np.inf)))
        model.step(np.array([place.ravel()[best] if legal[place].any() else 0]))
    assert np.median(agreement) > 0.8


def test_replicas_that_start_count_as_hosts() -> None:
    asked = demand(1)
    ready, starting = catchment(asked), catchment(asked, starting=np.minimum(HELD, 1))
    assert np.array_equal(ready.requests, starting.requests)
    assert np.array_equal(ready.gain, starting.gain)


def test_nothing_is_gained_or_lost_without_demand() -> None:
    found = catchment(np.zeros((3, 4)))
    assert not found.requests.any() and not found.gain.any() and not found.loss.any()
