"""The formulas of the M/M/c queue agree with hand values, sums, integrals and simulations."""

from math import exp, factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from lwmecps_gym.envs.queueing import erlang_c, sojourn_tail, truncated_sojourn


def erlang_c_by_factorials(c: int, a: float) -> float:
    last = a**c / factorial(c) * c / (c - a)
    return last / (sum(a**k / factorial(k) for k in range(c)) + last)


@pytest.mark.parametrize(
    ("servers", "load", "waits"),
    [
        (1, 0.7, 0.7),  # M/M/1: rho
        (2, 1.0, 1 / 3),
        (2, 1.2, 0.45),
        (3, 2.0, 4 / 9),
        (4, 2.0, 4 / 23),
        (1, 0.0, 0.0),
        (5, 0.0, 0.0),
        (0, 0.0, 1.0),
    ],
)
def test_erlang_c_gives_the_values_of_the_textbook(servers: int, load: float, waits: float) -> None:
    assert erlang_c(servers, load) == pytest.approx(waits)


@given(servers=st.integers(1, 50), rho=st.floats(0.001, 0.999))
def test_erlang_c_is_the_quotient_of_sums(servers: int, rho: float) -> None:
    load = servers * rho
    assert erlang_c(servers, load) == pytest.approx(erlang_c_by_factorials(servers, load), rel=1e-9)


def test_erlang_c_of_a_thousand_servers_is_a_probability() -> None:
    assert erlang_c(1000, 500.0) == pytest.approx(0, abs=1e-9)
    assert 0.6 < erlang_c(1000, 990.0) < 0.8


def test_erlang_c_works_on_whole_arrays() -> None:
    servers = np.array([[1, 2], [7, 0]])
    load = np.array([[0.7, 1.2], [5.0, 0.0]])
    expected = [[0.7, 0.45], [erlang_c_by_factorials(7, 5.0), 1.0]]
    assert erlang_c(servers, load) == pytest.approx(np.array(expected))


@given(lam=st.floats(0.01, 59), time=st.floats(0, 2))
def test_the_sojourn_in_mm1_is_exponential(lam: float, time: float) -> None:
    mu = 60.0
    tail = sojourn_tail(lam / mu, mu, mu - lam, time)
    assert tail == pytest.approx(exp(-(mu - lam) * time), rel=1e-5, abs=1e-12)


RATES = st.floats(0.5, 500)


@given(wait=st.floats(0, 1), mu=RATES, ratio=st.floats(0.01, 20), limit=st.floats(0, 10))
def test_the_truncated_mean_is_the_integral_of_the_tail(
    wait: float, mu: float, ratio: float, limit: float
) -> None:
    theta = ratio * mu
    limit_s = limit / min(mu, theta)
    integral, _ = quad(lambda t: float(sojourn_tail(wait, mu, theta, t)), 0, limit_s, epsabs=1e-12)
    assert truncated_sojourn(wait, mu, theta, limit_s) == pytest.approx(integral, rel=1e-5)


@pytest.mark.parametrize("apart", [0, 1e-15, 1e-9, 1e-7, 0.99e-6, 1.01e-6, 1e-5, 1e-3])
def test_equal_rates_of_service_and_waiting_are_no_special_case(apart: float) -> None:
    wait, mu, time = 0.4, 50.0, 0.03
    x = mu * time  # where theta = mu, waiting plus service is Erlang-2
    tail = (1 - wait) * exp(-x) + wait * exp(-x) * (1 + x)
    mean = (1 - wait) * (1 - exp(-x)) / mu + wait * (2 - exp(-x) * (2 + x)) / mu
    for theta in (mu * (1 + apart), mu * (1 - apart)):
        assert sojourn_tail(wait, mu, theta, time) == pytest.approx(tail, rel=2 * apart + 1e-5)
        assert truncated_sojourn(wait, mu, theta, time) == pytest.approx(mean, rel=2 * apart + 1e-5)


def test_limits_of_zero_and_less() -> None:
    for time in (0.0, -1.0):
        assert truncated_sojourn(0.4, 60, 24, time) == 0
        assert sojourn_tail(0.4, 60, 24, time) == 1


def test_a_far_limit_gives_the_mean_sojourn() -> None:
    assert truncated_sojourn(0.45, 60, 48, 1e3) == pytest.approx(1 / 60 + 0.45 / 48)
    assert sojourn_tail(0.45, 60, 48, 1e3) == 0


@given(wait=st.floats(0, 1), mu=RATES, theta=RATES)
def test_the_tail_is_a_probability_that_falls(wait: float, mu: float, theta: float) -> None:
    tail = sojourn_tail(wait, mu, theta, np.linspace(-0.1, 2, 200))
    assert ((tail >= -1e-12) & (tail <= 1 + 1e-9)).all()
    assert (np.diff(tail) <= 1e-9).all()


@pytest.mark.parametrize(("servers", "mu", "lam"), [(1, 60, 42), (2, 60, 72), (3, 10, 20)])
def test_a_simulated_queue_waits_and_leaves_as_the_formulas_say(
    servers: int, mu: float, lam: float
) -> None:
    rng = np.random.default_rng(1)
    count = 200_000
    arrivals = np.cumsum(rng.exponential(1 / lam, count))
    services = rng.exponential(1 / mu, count)
    free_at = [0.0] * servers
    sojourn, waited = np.empty(count), 0
    for i, (arrival, service) in enumerate(zip(arrivals.tolist(), services.tolist(), strict=True)):
        first = min(range(servers), key=free_at.__getitem__)
        begin = max(arrival, free_at[first])
        waited += begin > arrival
        free_at[first] = begin + service
        sojourn[i] = free_at[first] - arrival
    wait, theta = erlang_c(servers, lam / mu), servers * mu - lam
    assert waited / count == pytest.approx(float(wait), abs=0.015)
    for time in (0.5 / mu, 1 / mu, 3 / mu):
        tail = float(sojourn_tail(wait, mu, theta, time))
        assert np.mean(sojourn > time) == pytest.approx(tail, abs=0.015)
        cut = float(truncated_sojourn(wait, mu, theta, time))
        assert np.minimum(sojourn, time).mean() == pytest.approx(cut, rel=0.015)
