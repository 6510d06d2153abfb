"""The mask is exact: what it allows can be done, what it forbids is refused and changes nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lwmecps_gym.envs.actions import ActionTable, Kind, apply_to
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel, KernelName
from lwmecps_gym.platform.errors import IllegalActionError, InvalidInputError

from .drawn import CHOICES, KERNELS, scenarios

RESOURCES = ("cpu", "memory_mib", "tx_mbps", "rx_mbps")


def walked(
    scenario: Scenario, batch: int, choices: list[int], kernel: KernelName = "reference"
) -> ClusterModel:
    """`batch` equal clusters after the same legal actions, each the (choice mod count)-th one."""
    model = ClusterModel(scenario, batch, randomise=True, kernel=kernel)
    model.reset({index: np.random.default_rng(0) for index in range(batch)})
    for choice in choices:
        legal = np.flatnonzero(model.legal()[0])
        model.step(np.full(batch, legal[choice % len(legal)]))
    return model


def legal_by_the_book(model: ClusterModel, action: int) -> bool:
    """Say for one action whether the rules allow it, one rule after the other."""
    scenario, table = model.scenario, model.actions
    kind, s, source, target = (
        int(column[action]) for column in (table.kind, table.service, table.source, table.target)
    )
    if kind == Kind.NOTHING:
        return True
    replicas = model.replicas[0]
    service, total = scenario.services[s], replicas[s].sum()
    if kind == Kind.REMOVE and total <= service.min_replicas:
        return False
    if kind in (Kind.REMOVE, Kind.MOVE) and replicas[s, source] == 0:
        return False
    if kind == Kind.PLACE and total >= service.max_replicas:
        return False
    if kind in (Kind.PLACE, Kind.MOVE):
        node = scenario.nodes[target]
        if not model.node_up[0, target] or replicas[:, target].sum() >= node.max_pods:
            return False
        for name in RESOURCES:
            used = sum(
                getattr(other, name) * count
                for other, count in zip(scenario.services, replicas[:, target], strict=True)
            )
            drawn = model.params.capacity[0, target, 0] if name == "cpu" else getattr(node, name)
            if used + getattr(service, name) > drawn + 1e-9:
                return False
    return True


def snapshot(model: ClusterModel) -> list[NDArray[Any]]:
    state = model.state()
    return [
        array.copy()
        for array in (
            model.t, model.ready, model.starting, model.node_up, model.legal(), model.demand_at(0),
            state.demand, state.utilisation, state.latency_ms, state.time_s,
        )
    ]  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=40)
@given(scenario=scenarios(), choices=CHOICES)
def test_every_legal_action_can_be_done_and_keeps_every_limit(
    kernel: KernelName, scenario: Scenario, choices: list[int]
) -> None:
    count = len(ActionTable.of(len(scenario.services), len(scenario.nodes)))
    model = walked(scenario, count, choices, kernel)
    legal = model.legal()[0]
    assert legal.tolist() == [legal_by_the_book(model, action) for action in range(count)]
    assert np.array_equal(model.illegal(np.arange(count)), ~legal)
    actions = np.where(legal, np.arange(count), 0)
    before, was_up = model.replicas, model.node_up.copy()
    model.step(actions)
    lost = model.node_up < was_up
    expected = apply_to(before, model.actions, actions) * ~lost[:, None, :]
    assert np.array_equal(model.replicas, expected)
    assert (model.ready >= 0).all() and (model.starting >= 0).all()
    state = model.state()
    assert (state.free >= -1e-9).all()
    assert not model.replicas[np.broadcast_to(~model.node_up[:, None], model.replicas.shape)].any()
    totals = model.replicas.sum(-1)
    assert (totals <= [service.max_replicas for service in scenario.services]).all()
    if not scenario.failures.node_mtbf_s:
        assert (totals >= [service.min_replicas for service in scenario.services]).all()


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=40)
@given(scenario=scenarios(), choices=CHOICES)
def test_every_illegal_action_is_refused_and_changes_nothing(
    kernel: KernelName, scenario: Scenario, choices: list[int]
) -> None:
    model = walked(scenario, 2, choices, kernel)
    before = snapshot(model)
    for action in np.flatnonzero(~model.legal()[1]):
        with pytest.raises(IllegalActionError, match=rf"action {action} .*in cluster 1"):
            model.step(np.array([0, action]))
    for left, right in zip(before, snapshot(model), strict=True):
        assert np.array_equal(left, right)


@pytest.mark.parametrize("actions", [[0], [0, 0, 0], [0, -1], [0, 7], [[0, 0]]])
def test_a_number_that_is_no_action_is_refused(actions: list[Any]) -> None:
    model = walked(load_scenario("tiny"), 2, [])
    before = snapshot(model)
    with pytest.raises(InvalidInputError, match="want 2 numbers from 0 to 6"):
        model.step(np.array(actions))
    for left, right in zip(before, snapshot(model), strict=True):
        assert np.array_equal(left, right)


@given(st.integers(1, 4), st.integers(1, 4))
def test_the_table_numbers_every_action_once_in_the_documented_order(s: int, n: int) -> None:
    table = ActionTable.of(s, n)
    assert len(table) == 1 + 2 * s * n + s * n * (n - 1)
    names = [f"s{index}" for index in range(s)], [f"n{index}" for index in range(n)]
    expected = ["leave everything as it is"]
    expected += [f"place a replica of {a} on {b}" for a in names[0] for b in names[1]]
    expected += [f"remove a replica of {a} from {b}" for a in names[0] for b in names[1]]
    expected += [
        f"move a replica of {a} from {b} to {c}"
        for a in names[0]
        for b in names[1]
        for c in names[1]
        if b != c
    ]
    assert [table.describe(action, *names) for action in range(len(table))] == expected
    assert expected[int(table.place(s - 1, n - 1))] == f"place a replica of s{s - 1} on n{n - 1}"
    assert expected[int(table.remove(s - 1, 0))] == f"remove a replica of s{s - 1} from n0"


def test_without_moves_the_table_ends_after_the_removals() -> None:
    assert len(ActionTable.of(3, 4, moves=False)) == 1 + 2 * 3 * 4
