"""Demand over the day is what the scenario's workload says, and a seed fixes it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.envs.workload import EMPIRICAL_DAY, Workload

HOUR = 3600.0
SHARE = {"video": {"mean": 1}}


def every(seconds: float, count: int) -> NDArray[np.float64]:
    return np.arange(count, dtype=np.float64) * seconds


def workload_of(name: str = "four-stations", **changes: Any) -> Workload:
    return Workload.of(load_scenario(load_scenario(name).document() | changes))


def test_each_station_peaks_at_21_hours_plus_its_phase() -> None:
    workload = workload_of()
    times = every(60, 1440)
    requests = workload.mean_requests(times)
    assert np.array_equal(times[requests.argmax(0)] / HOUR, [21, 3, 9, 15])
    assert requests.max(0) == pytest.approx(6 * np.array([47, 42, 40, 36]))


def test_the_night_is_low_times_the_peak() -> None:
    requests = workload_of().mean_requests(every(60, 1440))
    assert requests.min(0) == pytest.approx(0.05 * requests.max(0))
    assert requests[6 * 60, 0] == requests[:, 0].min()  # 0.21 at hour 6 is the least of the day


def test_the_day_is_the_empirical_one_stretched_between_low_and_peak() -> None:
    requests = workload_of().mean_requests(every(HOUR, 24))[:, 0] / (6 * 47)
    assert requests == pytest.approx(0.05 + 0.95 * (EMPIRICAL_DAY - 0.21) / 0.79)


def test_demand_between_the_hours_is_interpolated_also_over_midnight() -> None:
    requests = workload_of().mean_requests(HOUR * np.array([23, 23.5, 24, 0]))[:, 0]
    assert requests[1] == pytest.approx(requests[[0, 2]].mean())
    assert requests[2] == requests[3]


def test_shares_sum_to_one_at_every_hour() -> None:
    shares = workload_of().shares(every(60, 1440))
    assert shares.sum(-1) == pytest.approx(1)
    assert (shares > 0).all()


def test_shares_follow_mean_swing_and_peak() -> None:
    workload = workload_of()
    means, peaks = np.array([0.3, 0.3, 0.4]), np.array([20, 12, 4])
    for hour in (0, 4, 12, 17.5, 20):
        weights = means * (1 + 0.8 * np.cos(2 * np.pi * (hour - peaks) / 24))
        assert workload.shares(np.array([hour * HOUR]))[0] == pytest.approx(weights / sum(weights))


def test_the_demand_of_one_service_alone_is_what_it_was_among_all() -> None:
    scenario = load_scenario("four-stations")
    times = every(HOUR, 24)
    among = Workload.of(scenario).mean_demand(times)
    alone = Workload.of(scenario.only("video")).mean_demand(times)
    assert np.array_equal(alone[:, 0], among[:, 1])


def sampled(
    workload: Workload, times: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    return workload.sample_around(workload.mean_requests(times), rng)


def test_mean_demand_shares_out_all_requests() -> None:
    workload = workload_of()
    times = every(HOUR, 24)
    assert workload.mean_demand(times).sum(1) == pytest.approx(workload.mean_requests(times))


def test_poisson_users_have_the_mean_and_variance_of_their_law() -> None:
    kind = {"mean_users": {"bs_1": 20, "bs_2": 0}, "requests_per_user_rps": 3, "share": SHARE}
    workload = workload_of("tiny", workload={"poisson": kind})
    drawn = sampled(workload, every(60, 40_000), np.random.default_rng(0))
    assert drawn[:, 0].mean() == pytest.approx(3 * 20, rel=0.01)
    assert drawn[:, 0].var() == pytest.approx(9 * 20, rel=0.03)
    assert set(np.unique(drawn[:, 0] % 3)) == {0}
    assert not drawn[:, 1].any()


def test_noise_has_its_standard_deviation_and_never_makes_demand_negative() -> None:
    workload = workload_of()
    times = np.full(40_000, 21 * HOUR)
    drawn = sampled(workload, times, np.random.default_rng(0))[:, 0]
    assert drawn.mean() == pytest.approx(6 * 47, rel=0.005)
    assert drawn.std() == pytest.approx(0.1 * 6 * 47, rel=0.03)
    document = load_scenario("tiny").document()
    document["workload"]["diurnal"]["noise"] = 3
    wild = Workload.of(load_scenario(document))
    assert sampled(wild, times, np.random.default_rng(0)).min() == 0


@given(
    interval_s=st.sampled_from([0.1, 0.7, 1 / 3, 1.1, 60.0, 300.0]),
    length=st.integers(1, 500),
    start=st.integers(0, 2000),
)
def test_a_trace_plays_every_value_once_and_begins_again(
    interval_s: float, length: int, start: int
) -> None:
    values = np.arange(length) + 1.0
    kind = {
        "interval_s": interval_s,
        "requests_rps": {"bs_1": values.tolist(), "bs_2": values.tolist()},
        "share": SHARE,
    }
    workload = workload_of("tiny", workload={"trace": kind})
    assert workload.cycle_s == pytest.approx(length * interval_s)
    times = every(interval_s, start + 2 * length)[start:]
    expected = np.roll(np.tile(values, 2), -start)
    assert np.array_equal(workload.mean_requests(times)[:, 1], expected)
    assert np.array_equal(sampled(workload, times, np.random.default_rng(0))[:, 0], expected)


@pytest.mark.parametrize("name", ["tiny", "four-stations"])
def test_a_seed_fixes_the_samples(name: str) -> None:
    workload, times = workload_of(name), every(60, 100)
    first, again, other = (
        sampled(workload, times, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
