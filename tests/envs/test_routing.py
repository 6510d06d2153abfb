"""Requests go where the routing says, none is lost on the way, and no node gets too many."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from lwmecps_gym.envs.routing import even_spread, prefer_close

Floats = NDArray[np.float64]
REQUESTS = st.one_of(st.just(0.0), st.floats(1e-3, 1e4))


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Demand [B, S, U], replicas [B, S, N] and round trips [B, U, N]."""
    b, s, u, n = (draw(st.integers(1, most)) for most in (3, 3, 4, 4))
    demand = draw(arrays(np.float64, (b, s, u), elements=REQUESTS))
    replicas = draw(arrays(np.int64, (b, s, n), elements=st.integers(0, 4)))
    rtt = draw(arrays(np.float64, (b, u, n), elements=st.floats(0, 100)))
    return demand, replicas.astype(np.float64), rtt


def nearest_of(rtt: Floats) -> Any:
    return np.argsort(rtt, axis=-1, kind="stable")


@given(clusters(), st.floats(0.1, 500))
def test_prefer_close_invents_and_overloads_nothing(
    cluster: tuple[Floats, Floats, Floats], rate: float
) -> None:
    demand, replicas, rtt = cluster
    capacity = rate * replicas
    flows = prefer_close(demand, capacity, nearest_of(rtt))
    assert (flows >= 0).all()
    assert (flows.sum(-1) <= demand * (1 + 1e-12)).all()
    assert (flows.sum(2) <= capacity * (1 + 1e-12)).all()


@given(clusters(), st.floats(0.1, 500))
def test_prefer_close_serves_as_much_as_there_is_room_for(
    cluster: tuple[Floats, Floats, Floats], rate: float
) -> None:
    demand, replicas, rtt = cluster
    capacity = rate * replicas
    flows = prefer_close(demand, capacity, nearest_of(rtt))
    most = np.minimum(demand.sum(-1), capacity.sum(-1))
    assert flows.sum((2, 3)) == pytest.approx(most)


@given(clusters(), st.floats(0.1, 500))
def test_prefer_close_passes_a_nearer_node_only_when_it_is_full(
    cluster: tuple[Floats, Floats, Floats], rate: float
) -> None:
    demand, replicas, rtt = cluster
    capacity = rate * replicas
    flows = prefer_close(demand, capacity, nearest_of(rtt))
    load = flows.sum(2)
    full = load >= capacity * (1 - 1e-9)
    for b, s, u, n in zip(*np.nonzero(flows > 1e-9 * demand.max(initial=1)), strict=True):
        for nearer in np.flatnonzero(rtt[b, u] < rtt[b, u, n]):
            assert full[b, s, nearer]


@given(clusters(), st.floats(0.1, 500))
def test_clusters_and_services_do_not_share_room(
    cluster: tuple[Floats, Floats, Floats], rate: float
) -> None:
    demand, replicas, rtt = cluster
    capacity, nearest = rate * replicas, nearest_of(rtt)
    flows = prefer_close(demand, capacity, nearest)
    for b in range(demand.shape[0]):
        for s in range(demand.shape[1]):
            alone = prefer_close(
                demand[b : b + 1, s : s + 1], capacity[b : b + 1, s : s + 1], nearest[b : b + 1]
            )
            assert np.array_equal(alone[0, 0], flows[b, s])


def test_sites_that_ask_a_full_node_get_the_same_share_and_spill_over_in_order() -> None:
    demand = np.array([[[60.0, 30.0]]])
    capacity = np.array([[[45.0, 30.0, 100.0]]])
    rtt = np.array([[[1.0, 2.0, 3.0], [1.0, 5.0, 4.0]]])
    flows = prefer_close(demand, capacity, nearest_of(rtt))
    # node 0 takes half of both; of site 0's other 30, node 1 takes all; site 1's 15 go to node 2
    assert flows[0, 0] == pytest.approx(np.array([[30, 30, 0], [15, 0, 15]]))


def test_what_is_left_over_fails() -> None:
    flows = prefer_close(np.array([[[100.0]]]), np.array([[[30.0, 20.0]]]), np.array([[[1, 0]]]))
    assert flows[0, 0, 0] == pytest.approx([30, 20])


@given(clusters(), st.floats(0.1, 500), st.floats(0.05, 0.99))
def test_even_spread_loads_every_replica_alike(
    cluster: tuple[Floats, Floats, Floats], rate: float, cap: float
) -> None:
    demand, replicas, _ = cluster
    flows = even_spread(demand, cap * rate * replicas, replicas)
    load = flows.sum(2)
    for b, s in np.ndindex(load.shape[:2]):
        count = replicas[b, s].sum()
        each = min(demand[b, s].sum() / max(count, 1), cap * rate) if count else 0
        assert load[b, s] == pytest.approx(replicas[b, s] * each)
        # every site sees the same mix of nodes and the same refusals
        asked = demand[b, s].sum()
        mix = load[b, s] / asked if asked else 0 * load[b, s]
        assert flows[b, s] == pytest.approx(demand[b, s][:, None] * mix)


@pytest.mark.parametrize("replicas", [0.0, 2.0])
@pytest.mark.parametrize("requests", [0.0, 50.0])
def test_no_demand_or_no_replicas_give_no_flow(replicas: float, requests: float) -> None:
    demand, ready = np.full((1, 2, 3), requests), np.full((1, 2, 2), replicas)
    nearest = np.tile(np.array([0, 1]), (1, 3, 1))
    expected = min(requests * 3, replicas * 2 * 100) * 2
    assert prefer_close(demand, 100 * ready, nearest).sum() == pytest.approx(expected)
    assert even_spread(demand, 100 * ready, ready).sum() == pytest.approx(expected)
