"""The cluster model: start-ups, removals, failures and the cost of a step."""

from math import exp
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel, Step
from lwmecps_gym.platform.errors import InvalidInputError

NOTHING, PLACE_1, PLACE_2, REMOVE_1, REMOVE_2, MOVE_12, MOVE_21 = range(7)
"""Actions of `tiny`: one service on two nodes."""


def tiny(requests: tuple[float, float] = (30, 12), **changes: Any) -> Scenario:
    """`tiny` with a constant demand at its two sites; `service` holds changes of the service."""
    document = load_scenario("tiny").document()
    document["services"][0] |= changes.pop("service", {})
    trace = {
        "interval_s": 300,
        "requests_rps": {"bs_1": [requests[0]], "bs_2": [requests[1]]},
        "share": {"video": {"mean": 1}},
    }
    return load_scenario(document | {"workload": {"trace": trace}} | changes)


def begun(scenario: Scenario, placement: list[list[int]], **options: Any) -> ClusterModel:
    model = ClusterModel(scenario, **options)
    rngs = {index: np.random.default_rng(index) for index in range(model.batch)}
    model.reset(rngs, placement=np.array(placement))
    return model


def step(model: ClusterModel, action: int) -> Step:
    return model.step(np.array([action]))


def counts(model: ClusterModel) -> tuple[list[int], list[int]]:
    return model.ready[0, 0].tolist(), model.starting[0, 0].tolist()


# --- Start-up, removal, failure ---------------------------------------------------------------


@pytest.mark.parametrize(("startup_s", "steps"), [(0, 0), (1, 1), (300, 1), (301, 2), (900, 3)])
def test_a_new_replica_serves_after_its_whole_start_up_steps(startup_s: float, steps: int) -> None:
    model = begun(tiny(service={"startup_s": startup_s}), [[1, 0]])
    served = []
    for t in range(5):
        result = step(model, PLACE_2 if t == 0 else NOTHING)
        served.append(bool(result.performance.share[0, 0, :, 1].sum()))
        assert model.replicas[0, 0].tolist() == [1, 1]
    assert served == [t >= steps for t in range(5)]


def test_starting_replicas_hold_their_resources_and_cost() -> None:
    quick, slow = (begun(tiny(service={"startup_s": s}), [[1, 0]]) for s in (0, 900))
    costs = [step(model, PLACE_2).terms for model in (quick, slow)]
    assert costs[0]["resources"] == costs[1]["resources"] == 0.2 * 1.0 / 2
    step(slow, PLACE_2)
    assert slow.state().free[0, :, 0].tolist() == [0.5, 0.0]
    assert not slow.legal()[0, PLACE_2]


def test_removal_takes_the_youngest_first() -> None:
    model = begun(tiny(service={"startup_s": 900, "cpu": 0.25}), [[1, 0]])
    step(model, PLACE_1)
    step(model, PLACE_1)
    assert counts(model) == ([1, 0], [2, 0])
    step(model, REMOVE_1)  # takes the one placed last; the other serves when it would have
    assert counts(model) == ([2, 0], [0, 0])
    step(model, REMOVE_1)
    assert counts(model) == ([1, 0], [0, 0])


def test_a_moved_replica_starts_anew() -> None:
    model = begun(tiny(service={"startup_s": 300, "min_replicas": 0}), [[1, 0]])
    result = step(model, MOVE_12)
    assert result.migrations.tolist() == [1]
    assert result.performance.failed.tolist() == [1]  # nothing serves in the meantime
    assert counts(model) == ([0, 1], [0, 0])
    assert step(model, NOTHING).performance.failed.tolist() == [0]


def test_only_places_and_moves_count_as_migrations() -> None:
    model = begun(tiny(), [[1, 0]])
    actions = (NOTHING, PLACE_1, REMOVE_1, MOVE_12, NOTHING)
    results = [step(model, action) for action in actions]
    assert [result.migrations[0] for result in results] == [0, 1, 0, 1, 0]
    assert [result.terms["migration"][0] for result in results] == [0, 0.02, 0, 0.02, 0]


def test_a_failed_node_loses_its_pods_and_takes_none_until_it_is_up() -> None:
    failing = tiny(failures={"node_mtbf_s": 3000, "node_mttr_s": 900}, service={"startup_s": 900})
    model = begun(failing, [[1, 1]])
    downs = ups = 0
    for _ in range(280):
        was_up = model.node_up[0].copy()
        legal = model.legal()[0]
        place = next((a for a in (PLACE_1, PLACE_2) if legal[a]), NOTHING)
        for n, action in enumerate((PLACE_1, PLACE_2)):
            assert was_up[n] or not legal[action]
        step(model, place)
        up = model.node_up[0]
        downs += int((was_up & ~up).sum())
        ups += int((~was_up & up).sum())
        assert not model.replicas[0, 0, ~up].any()
        assert not model.replicas[0, 0, up & ~was_up].any()  # pods come back only by an action
        assert (model.state().free[0, ~up] == 0).all()
    assert downs > 10 and ups > 10


def test_nodes_fail_and_recover_as_often_as_the_scenario_says() -> None:
    failing = tiny(failures={"node_mtbf_s": 6000, "node_mttr_s": 3000}, episode_steps=2000)
    model = begun(failing, [[1, 0]], batch=20)
    up = []
    for _ in range(2000):
        model.step(np.zeros(20, dtype=np.int64))
        up.append(model.node_up.copy())
    history = np.array(up)
    fails = (history[:-1] & ~history[1:]).sum() / history[:-1].sum()
    repairs = (~history[:-1] & history[1:]).sum() / (~history[:-1]).sum()
    assert fails == pytest.approx(1 - exp(-300 / 6000), rel=0.05)
    assert repairs == pytest.approx(1 - exp(-300 / 3000), rel=0.05)


def test_nodes_stay_up_where_failures_are_switched_off() -> None:
    model = begun(tiny(failures={"node_mtbf_s": 300, "node_mttr_s": 300}), [[1, 0]], failures=False)
    for _ in range(50):
        step(model, NOTHING)
        assert model.node_up.all()


# --- The cost of a step, by hand --------------------------------------------------------------


def test_the_cost_of_one_replica_is_that_of_an_mm1_queue() -> None:
    result = step(begun(tiny((30, 12)), [[1, 0]]), NOTHING)
    # one replica on bs_1: 42 of 60 requests/s, so the sojourn is exponential with rate 18/s
    near = 2 + 1000 * (1 - exp(-18 * 0.398)) / 18
    far = 30 + 1000 * (1 - exp(-18 * 0.370)) / 18
    latency = (30 * near + 12 * far) / 42
    violated = (30 * exp(-18 * 0.058) + 12 * exp(-18 * 0.030)) / 42
    assert result.performance.latency_ms[0] == pytest.approx(latency, rel=1e-6)
    assert result.performance.violated[0] == pytest.approx(violated, rel=1e-6)
    assert {name: term[0] for name, term in result.terms.items()} == pytest.approx(
        {
            "latency": latency / 100,
            "violation": violated,
            "resources": 0.2 * 0.5 / 2,
            "balance": 0.05 * 0.25,  # CPU of the nodes: 0.5 and 0
            "migration": 0,
        },
        rel=1e-6,
    )
    assert result.cost[0] == pytest.approx(sum(term[0] for term in result.terms.values()))


def mm2_tail(t: float) -> float:
    """60/s per server, 72/s arrive: Erlang C = 0.45, spare rate 48/s."""
    return 2.25 * exp(-48 * t) - 1.25 * exp(-60 * t)


def mm2_mean_up_to(a: float) -> float:
    return 2.25 * (1 - exp(-48 * a)) / 48 - 1.25 * (1 - exp(-60 * a)) / 60


def test_the_cost_of_two_replicas_is_that_of_an_mm2_queue() -> None:
    result = step(begun(tiny((60, 12)), [[1, 0]]), PLACE_1)
    near, far = (rtt + 1000 * mm2_mean_up_to(0.4 - rtt / 1000) for rtt in (2, 30))
    violated = (60 * mm2_tail(0.058) + 12 * mm2_tail(0.030)) / 72
    assert {name: term[0] for name, term in result.terms.items()} == pytest.approx(
        {
            "latency": (60 * near + 12 * far) / 72 / 100,
            "violation": violated,
            "resources": 0.2 * 1.0 / 2,
            "balance": 0.05 * 0.5,
            "migration": 0.02,
        },
        rel=1e-6,
    )


def test_a_split_queue_is_two_mm1_queues_of_half_the_load() -> None:
    result = step(begun(tiny((60, 12), queue="split"), [[2, 0]]), NOTHING)
    near, far = (rtt + 1000 * (1 - exp(-24 * (0.4 - rtt / 1000))) / 24 for rtt in (2, 30))
    assert result.performance.latency_ms[0] == pytest.approx((60 * near + 12 * far) / 72, rel=1e-6)
    violated = (60 * exp(-24 * 0.058) + 12 * exp(-24 * 0.030)) / 72
    assert result.performance.violated[0] == pytest.approx(violated, rel=1e-6)


def test_random_routing_sends_half_of_the_requests_to_each_of_two_nodes() -> None:
    result = step(begun(tiny((30, 12), routing="random"), [[1, 1]]), NOTHING)
    theta = 60 - 21
    near, far = (rtt + 1000 * (1 - exp(-theta * (0.4 - rtt / 1000))) / theta for rtt in (2, 30))
    assert result.performance.latency_ms[0] == pytest.approx((near + far) / 2, rel=1e-6)
    assert result.performance.share[0, 0] == pytest.approx(np.array([[15, 15], [6, 6]]) / 42)


def test_requests_above_the_cap_fail_at_the_timeout() -> None:
    result = step(begun(tiny((75, 25)), [[1, 0]]), NOTHING)
    # 54 of 60 requests/s are admitted, all from bs_1, which is nearest to the replica
    near = 2 + 1000 * (1 - exp(-6 * 0.398)) / 6
    latency = 0.54 * near + 0.46 * 400
    assert result.performance.failed[0] == pytest.approx(0.46)
    assert result.performance.latency_ms[0] == pytest.approx(latency, rel=1e-6)
    violated = 0.46 + 0.54 * exp(-6 * 0.058)
    assert result.performance.violated[0] == pytest.approx(violated, rel=1e-6)


def test_a_quiet_cluster_costs_only_what_it_holds() -> None:
    result = step(begun(tiny((0, 0)), [[1, 1]]), NOTHING)
    terms = {name: term[0] for name, term in result.terms.items()}
    assert terms == {
        "latency": 0, "violation": 0, "resources": 0.2 * 0.5, "balance": 0, "migration": 0,
    }  # fmt: skip


def test_a_service_without_replicas_fails_everything() -> None:
    empty = step(begun(tiny(service={"min_replicas": 0}), [[0, 0]]), NOTHING).performance
    assert (empty.failed[0], empty.violated[0], empty.latency_ms[0]) == (1, 1, 400)


# --- Beginnings -------------------------------------------------------------------------------


def test_an_episode_begins_with_the_minimum_spread_over_the_emptiest_nodes() -> None:
    four = ClusterModel(load_scenario("four-stations"))
    # ar (0.5) on the first node of 1.2 cores, video on the second, telemetry on the third
    assert four.initial_placement.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


def test_an_episode_begins_at_midnight_or_at_the_given_time() -> None:
    model = begun(tiny(), [[1, 0]], batch=2)
    assert model.time_s.tolist() == [0, 0]
    model.reset({1: np.random.default_rng(0)}, start_s=36_000)
    assert model.time_s.tolist() == [0, 36_000]
    model.step(np.zeros(2, dtype=np.int64))
    assert model.time_s.tolist() == [300, 36_300]


@pytest.mark.parametrize("start_s", [-1.0, float("nan"), float("inf"), "noon"])
def test_a_start_that_is_no_time_is_refused(start_s: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"start_s.*" + str(start_s)):
        ClusterModel(tiny()).reset({0: np.random.default_rng(0)}, start_s=start_s)


@pytest.mark.parametrize(
    ("placement", "said"),
    [
        ([[1, 0, 0]], "1 rows .* of 2"),
        ([1, 0], "1 rows .* of 2"),
        (3, "1 rows .* of 2"),
        ([[-1, 1]], "whole numbers"),
        ([[0.5, 1]], "whole numbers"),
        ([[3, 0]], r"more than nodes \[0\] have"),
        ([[2, 2]], r"above max_replicas \[3\]"),
    ],
)
def test_a_placement_that_cannot_be_is_refused(placement: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        begun(tiny(), placement)


def test_the_first_state_shows_the_demand_of_the_interval_before() -> None:
    scenario = load_scenario("four-stations")
    model = ClusterModel(scenario)
    model.reset({0: np.random.default_rng(5)})
    rng = np.random.default_rng(5)
    times = 60.0 * np.arange(-1, scenario.episode_steps, dtype=np.float64)
    requests = model.workload.sample_around(model.workload.mean_requests(times), rng)
    shares = model.workload.shares(times)
    for t in range(3):
        expected = shares[t][:, None] * requests[t][None]
        assert np.array_equal(model.state().demand[0], expected)
        assert np.array_equal(model.demand_at(0)[0], shares[t + 1][:, None] * requests[t + 1])
        model.step(np.array([0]))


def test_randomised_episodes_draw_within_the_ranges_and_their_start_fits() -> None:
    ranges: dict[str, Any] = {
        "node_cpu": [0.5, 1.5], "service_rate": [0.8, 1.2], "rtt": [0.01, 2], "demand": [0.5, 3],
        "start_h": [6, 18],
    }  # fmt: skip
    document = tiny(service={"cpu": 0.9, "min_replicas": 2}).document()
    document["nodes"][0]["cpu"] = 4  # both replicas must be here, as the other node may shrink
    scenario = load_scenario(document | {"randomise": ranges})
    model = ClusterModel(scenario, 50, randomise=True)
    model.reset({index: np.random.default_rng(index) for index in range(50)})

    def factors(drawn: NDArray[Any], plain: NDArray[Any], name: str) -> None:
        factor = drawn / plain
        low, high = ranges[name]
        assert ((factor >= low) & (factor <= high)).all()
        assert np.ptp(factor) > (high - low) / 2

    params, base = model.params, model.base
    factors(params.capacity[..., 0], base.capacity[..., 0], "node_cpu")
    factors(params.rate, base.rate, "service_rate")
    factors(params.rtt_ms, base.rtt_ms, "rtt")
    factors(params.demand_factor, base.demand_factor, "demand")
    assert np.array_equal(params.capacity[..., 1:], np.repeat(base.capacity[..., 1:], 50, 0))
    assert ((model.time_s >= 6 * 3600) & (model.time_s <= 18 * 3600)).all()
    assert np.array_equal(model.time_s % 300, np.zeros(50))
    assert (model.state().free >= -1e-9).all()
    assert np.array_equal(params.nearest, np.argsort(params.rtt_ms, axis=-1))
    assert len(np.unique(params.nearest[:, 0, 0])) == 2  # for some, the other node is nearer
    plain = ClusterModel(scenario, 2)
    plain.reset({0: np.random.default_rng(0), 1: np.random.default_rng(1)})
    assert np.array_equal(plain.params.capacity, np.repeat(plain.base.capacity, 2, 0))
