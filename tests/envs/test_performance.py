"""What users get from a placement: shares, tails and means that agree with each other."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwmecps_gym.envs.cluster import ClusterParams
from lwmecps_gym.envs.performance import Performance, cost_terms, evaluate
from lwmecps_gym.envs.scenario import Scenario, load_scenario

FOUR = load_scenario("four-stations")


def variant(routing: str, queue: str, name: str = "four-stations") -> Scenario:
    return load_scenario(load_scenario(name).document() | {"routing": routing, "queue": queue})


VARIANTS = [variant(r, q) for r in ("prefer-close", "random") for q in ("shared", "split")]


def drawn(scenario: Scenario, seed: int, batch: int = 3, load: float = 150) -> Performance:
    rng = np.random.default_rng(seed)
    params = ClusterParams.of(scenario, batch)
    s, n, u = len(scenario.services), len(scenario.nodes), len(scenario.sites)
    ready = rng.integers(0, 4, (batch, s, n))
    return evaluate(scenario, params, ready, rng.uniform(0, load, (batch, s, u)))


@settings(max_examples=30)
@given(st.sampled_from(VARIANTS), st.integers(0, 10_000), st.sampled_from([5, 50, 500]))
def test_every_request_is_served_or_fails(scenario: Scenario, seed: int, load: float) -> None:
    performance = drawn(scenario, seed, load=load)
    assert performance.share.sum((1, 2, 3)) + performance.failed == pytest.approx(1)
    assert ((performance.failed >= 0) & (performance.failed <= 1)).all()
    assert (performance.violated >= performance.failed).all()
    assert (performance.violated <= 1 + 1e-9).all()
    assert (performance.latency_ms <= scenario.timeout_ms * (1 + 1e-9)).all()
    assert (performance.utilisation <= scenario.utilisation_cap * (1 + 1e-9)).all()


@settings(max_examples=20)
@given(st.sampled_from(VARIANTS), st.integers(0, 10_000))
def test_means_by_service_and_by_site_agree_with_the_mean(scenario: Scenario, seed: int) -> None:
    rng = np.random.default_rng(seed)
    demand = rng.uniform(0, 150, (1, 3, 4))
    params = ClusterParams.of(scenario)
    performance = evaluate(scenario, params, rng.integers(0, 3, (1, 3, 4)), demand)
    by_service = (performance.service_latency_ms * demand.sum(2)).sum() / demand.sum()
    by_site = (performance.site_latency_ms * demand.sum(1)).sum() / demand.sum()
    assert performance.latency_ms[0] == pytest.approx(by_service)
    assert performance.latency_ms[0] == pytest.approx(by_site)


@settings(max_examples=10)
@given(st.sampled_from(VARIANTS), st.integers(0, 10_000))
def test_survival_falls_from_one_to_nothing_and_its_integral_is_the_mean_latency(
    scenario: Scenario, seed: int
) -> None:
    performance = drawn(scenario, seed)
    thresholds = np.linspace(0, scenario.timeout_ms - 1e-9, 3001)
    survival = performance.survival(thresholds)
    assert survival[:, 0] == pytest.approx(1)
    assert (np.diff(survival, axis=1) <= 1e-9).all()
    assert (survival[:, -1] >= performance.failed - 1e-9).all()
    assert not performance.survival(np.array([scenario.timeout_ms])).any()
    integral = np.trapezoid(survival, thresholds, axis=1)
    assert integral == pytest.approx(performance.latency_ms, rel=3e-4)


@pytest.mark.parametrize("routing", ["prefer-close", "random"])
@pytest.mark.parametrize("queue", ["shared", "split"])
def test_survival_at_the_slo_is_the_violated_share(routing: str, queue: str) -> None:
    scenario = variant(routing, queue, "tiny")
    rng = np.random.default_rng(0)
    params = ClusterParams.of(scenario, 30)
    performance = evaluate(
        scenario, params, rng.integers(0, 3, (30, 1, 2)), rng.uniform(0, 120, (30, 1, 2))
    )
    at_slo = performance.survival(np.array([scenario.services[0].slo_ms]))[:, 0]
    assert at_slo == pytest.approx(performance.violated)


def test_an_slo_beyond_the_timeout_is_violated_only_by_failures() -> None:
    document = load_scenario("tiny").document()
    document["services"][0]["slo_ms"] = 400
    scenario = load_scenario(document)
    params = ClusterParams.of(scenario)
    performance = evaluate(scenario, params, np.array([[[1, 0]]]), np.array([[[50.0, 10.0]]]))
    assert performance.failed[0] == pytest.approx(1 - 54 / 60)
    assert performance.violated[0] == performance.failed[0]


def test_a_node_beyond_the_timeout_answers_at_the_timeout() -> None:
    document = load_scenario("tiny").document()
    document["sites"][0]["rtt_ms"] = {"bs_1": 450, "bs_2": 500}
    scenario = load_scenario(document)
    params = ClusterParams.of(scenario)
    performance = evaluate(scenario, params, np.array([[[1, 0]]]), np.array([[[10.0, 0.0]]]))
    assert (performance.latency_ms[0], performance.violated[0]) == (400, 1)


def test_without_requests_nothing_is_late() -> None:
    performance = evaluate(
        FOUR, ClusterParams.of(FOUR), np.ones((1, 3, 4), dtype=np.int64), np.zeros((1, 3, 4))
    )
    assert not performance.survival(np.array([0.0, 10.0])).any()
    assert (performance.latency_ms[0], performance.failed[0], performance.violated[0]) == (0, 0, 0)


@settings(max_examples=30)
@given(st.sampled_from(VARIANTS), st.permutations(range(4)), st.integers(0, 10_000))
def test_the_order_of_the_nodes_does_not_matter(
    scenario: Scenario, order: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ready, demand = rng.integers(0, 3, (1, 3, 4)), rng.uniform(0, 150, (1, 3, 4))
    document = scenario.document()
    shuffled = load_scenario(document | {"nodes": [document["nodes"][n] for n in order]})
    terms = []
    shares = []
    for each, placed in ((scenario, ready), (shuffled, ready[..., order])):
        params = ClusterParams.of(each)
        performance = evaluate(each, params, placed, demand)
        terms.append(cost_terms(each, params, placed, performance, np.zeros(1)))
        shares.append(performance.share)
    assert shares[1] == pytest.approx(shares[0][..., order])
    for name, term in terms[0].items():
        assert terms[1][name] == pytest.approx(term)


def test_more_capacity_never_makes_users_wait_longer() -> None:
    rng = np.random.default_rng(0)
    ready, demand = rng.integers(1, 3, (1, 3, 4)), rng.uniform(0, 100, (1, 3, 4))
    params = ClusterParams.of(FOUR)
    latencies = [
        evaluate(FOUR, replace(params, rate=params.rate * factor), ready, demand).latency_ms[0]
        for factor in (0.5, 1, 2, 4)
    ]
    assert latencies == sorted(latencies, reverse=True)
