"""What catchments say: whose requests a node has or would get, and what they save."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lwmecps_gym.envs.catchment import Catchment, find_catchment
from lwmecps_gym.envs.cluster import ClusterState
from lwmecps_gym.envs.performance import cost_terms, evaluate
from lwmecps_gym.envs.scenario import load_scenario
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


def users_cost(placement: NDArray[np.int64], asked: NDArray[np.float64]) -> float:
    """Latency and violation terms of the model, times all requests."""
    now = state(asked)
    performance = evaluate(FOUR, now.params, placement[None], now.demand)
    terms = cost_terms(FOUR, now.params, placement[None], performance, np.zeros(1))
    return float((terms["latency"] + terms["violation"])[0] * asked.sum())


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


def test_what_is_saved_is_what_the_model_says_while_nothing_queues() -> None:
    asked = demand(0.001)
    saved = catchment(asked).saved[0]
    for s, n in np.ndindex(3, 4):
        without, with_one = HELD.copy(), HELD.copy()
        without[s, n], with_one[s, n] = 0, max(1, HELD[s, n])
        difference = users_cost(without, asked) - users_cost(with_one, asked)
        assert saved[s, n] == pytest.approx(difference, rel=1e-3), (s, n)


def test_replicas_that_start_count_as_hosts() -> None:
    asked = demand(1)
    ready, starting = catchment(asked), catchment(asked, starting=np.minimum(HELD, 1))
    assert np.array_equal(ready.requests, starting.requests)
    assert np.array_equal(ready.saved, starting.saved)


def test_what_a_full_host_cannot_admit_is_offered_to_the_nodes_behind_it() -> None:
    asked = np.zeros((3, 4))
    asked[0, 0] = 180.0  # bs_1's one replica admits 90
    found = catchment(asked)
    assert found.requests[0, 0] == pytest.approx([180, 90, 90, 0])  # the next host is bs_4
    assert found.saved[0, 0, 1] > found.saved[0, 0, 2] > 0
    asked[0, 3] = 90.0  # now that one is full, too
    fuller = catchment(asked)
    assert fuller.saved[0, 0, 2] == pytest.approx(found.saved[0, 0, 2])
    asked[0, 3] = 180.0  # and refuses half of what it gets: some requests fail
    assert catchment(asked).saved[0, 0, 2] > fuller.saved[0, 0, 2] + 90
