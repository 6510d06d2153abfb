"""A table numbers the observations of `lwmecps-v1`, each state once."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from lwmecps_gym.algorithms.table import Discretiser, Table
from lwmecps_gym.envs.encoding import make_encoding
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.errors import InvalidInputError

from .clusters import changed, cluster

TINY = load_scenario("tiny")


def observe(replicas: tuple[int, ...], demand_rps: tuple[float, ...]) -> NDArray[np.float32]:
    """What `lwmecps-v1` shows of a cluster of `tiny`."""
    encoding = make_encoding("lwmecps-v1", TINY)
    state = cluster(TINY, [replicas], demand=[demand_rps])
    encoded: NDArray[np.float32] = encoding.encode(state, encoding.actions.legal_in(state))
    return encoded


def test_every_state_has_one_number_and_every_number_one_state() -> None:
    discretiser = Discretiser.of(TINY, demand_bins=4)
    assert discretiser.sizes == (3, 3, 4, 4)  # two replicas fit a node; demand up to two of them
    rates = (15, 45, 75, 105)  # 0.25, 0.75, 1.25, 1.75 replicas of 60 requests/s
    numbers = [
        int(discretiser.index(observe(replicas, demand))[0])
        for replicas in product(range(3), repeat=2)
        for demand in product(rates, repeat=2)
    ]
    assert sorted(numbers) == list(range(discretiser.states)) == list(range(144))


def test_what_is_beyond_the_last_level_counts_as_the_last_level() -> None:
    discretiser = Discretiser.of(TINY, demand_bins=4)
    assert discretiser.index(observe((5, 0), (400, 0))) == discretiser.index(
        observe((2, 0), (119, 0))
    )


def test_starting_replicas_count_like_ready_ones() -> None:
    discretiser = Discretiser.of(TINY, demand_bins=4)
    encoding = make_encoding("lwmecps-v1", TINY)
    state = cluster(TINY, [[1, 0]], starting=[[1, 0]], demand=[[15, 15]])
    encoded = encoding.encode(state, encoding.actions.legal_in(state))
    assert discretiser.index(encoded) == discretiser.index(observe((2, 0), (15, 15)))


def test_one_bin_tells_no_demand_apart() -> None:
    discretiser = Discretiser.of(TINY, demand_bins=1)
    assert discretiser.sizes == (3, 3, 1, 1)
    assert discretiser.index(observe((1, 1), (0, 0))) == discretiser.index(observe((1, 1), (99, 9)))


def test_no_more_levels_than_the_service_may_have_replicas() -> None:
    service = TINY.services[0].model_dump() | {"cpu": 0.1, "max_replicas": 4}
    assert Discretiser.of(changed("tiny", services=[service]), 2).sizes == (5, 5, 2, 2)


def test_a_table_that_would_be_too_large_is_refused_with_its_size_and_a_way_out() -> None:
    with pytest.raises(InvalidInputError, match="states are too many.*tiny.*demand_bins.*dqn"):
        Discretiser.of(load_scenario("four-stations"), demand_bins=50)


def test_scores_are_the_rows_of_the_table() -> None:
    discretiser = Discretiser.of(TINY, demand_bins=4)
    values = np.arange(144 * 5, dtype=np.float32).reshape(144, 5)
    table = Table.from_manifest(discretiser.model_dump(mode="json"), {"q": values})
    seen = np.concatenate([observe((1, 0), (15, 45)), observe((2, 1), (105, 15))])
    assert table.scores(seen).tolist() == values[discretiser.index(seen)].tolist()


@pytest.mark.parametrize("shape", [(143, 5), (144,), (5, 144)])
def test_values_that_are_not_one_row_per_state_are_refused(shape: tuple[int, ...]) -> None:
    config = Discretiser.of(TINY, demand_bins=4).model_dump(mode="json")
    with pytest.raises(InvalidInputError, match="q: want action values of 144 states, got shape"):
        Table.from_manifest(config, {"q": np.zeros(shape, np.float32)})
