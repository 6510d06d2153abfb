"""What holds in every cluster, whatever is done in it and whatever happens to it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lwmecps_gym.envs import ENV_IDS, LWMECPSEnv, LWMECPSEnv2, LWMECPSEnv3
from lwmecps_gym.envs.actions import ActionTable, apply_to
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel, KernelName
from lwmecps_gym.platform.errors import IllegalActionError

from .drawn import CHOICES, KERNELS, scenarios

CLASSES = {"lwmecps-v1": LWMECPSEnv, "lwmecps-v2": LWMECPSEnv2, "lwmecps-v3": LWMECPSEnv3}
STEADY: dict[str, Any] = {"failures": {}, "randomise": {}}
SEEDS = st.integers(0, 10_000)


def changed(scenario: Scenario, services: dict[str, Any] | None = None, **changes: Any) -> Scenario:
    """The scenario with some fields, and some of every service, set anew."""
    document = scenario.document()
    for service in document["services"]:
        service |= services or {}
    return load_scenario(document | changes)


def begun(scenario: Scenario, seed: int, kernel: KernelName, batch: int = 3) -> ClusterModel:
    model = ClusterModel(scenario, batch, randomise=True, kernel=kernel)
    model.reset({index: np.random.default_rng([seed, index]) for index in range(batch)})
    return model


def choose(model: ClusterModel, rng: np.random.Generator) -> NDArray[Any]:
    """A random legal action in each cluster."""
    legal = model.legal()
    return np.argmax(rng.random(legal.shape) * legal, axis=1)


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=40)
@given(scenario=scenarios(), seed=SEEDS)
def test_nodes_hold_what_they_can_and_pods_come_only_by_actions(
    kernel: KernelName, scenario: Scenario, seed: int
) -> None:
    model = begun(scenario, seed, kernel)
    chooser = np.random.default_rng(seed)
    for _ in range(scenario.episode_steps):
        before, actions = model.replicas, choose(model, chooser)
        model.step(actions)
        up = model.node_up[:, None, :]
        assert np.array_equal(model.replicas, apply_to(before, model.actions, actions) * up)
        assert (model.ready >= 0).all() and (model.starting >= 0).all()
        used = np.einsum("bsn,bsr->bnr", model.replicas, model.params.request)
        assert (used <= model.params.capacity + 1e-9).all()
        assert (model.replicas.sum(-1) <= model.params.max_replicas).all()


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=30)
@given(scenario=scenarios(), seed=SEEDS)
def test_what_is_asked_for_is_served_or_fails(
    kernel: KernelName, scenario: Scenario, seed: int
) -> None:
    # those who serve in a step are those who are ready after it, if none starts up or fails
    model = begun(changed(scenario, {"startup_s": 0}, failures={}), seed, kernel)
    chooser = np.random.default_rng(seed)
    for _ in range(scenario.episode_steps):
        step = model.step(choose(model, chooser))
        rate = model.ready * model.params.rate[..., None]
        utilisation = model.state().utilisation
        assert (utilisation <= scenario.utilisation_cap + 1e-9).all()
        asked = model.demand_at(-1).sum((1, 2))
        served = (utilisation * rate).sum((1, 2))
        assert served + step.failed * asked == pytest.approx(asked)


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=30)
@given(scenario=scenarios(), seed=SEEDS)
def test_longer_round_trips_never_cost_less(
    kernel: KernelName, scenario: Scenario, seed: int
) -> None:
    document = scenario.document() | STEADY
    rng = np.random.default_rng(seed)
    for site in document["sites"]:
        names = sorted(site["rtt_ms"], key=site["rtt_ms"].__getitem__)
        extra_ms = rng.exponential(20, len(names))
        if scenario.routing == "prefer-close":  # no node is passed: others would have its room
            extra_ms.sort()
        for name, more_ms in zip(names, extra_ms.tolist(), strict=True):
            site["rtt_ms"][name] += more_ms
    near, far = (
        begun(each, seed, kernel) for each in (changed(scenario, **STEADY), load_scenario(document))
    )
    chooser = np.random.default_rng(seed)
    for _ in range(5):
        actions = choose(near, chooser)
        least, most = near.step(actions), far.step(actions)
        assert (most.latency_ms >= least.latency_ms - 1e-9).all()
        assert (most.violated >= least.violated - 1e-9).all()
        assert (most.cost >= least.cost - 1e-9).all()


def node_parts(
    env: LWMECPSEnv | LWMECPSEnv2 | LWMECPSEnv3, observation: Any
) -> dict[str, tuple[NDArray[Any], int | None]]:
    """Parts of an observation by name, and which of their axes are nodes."""
    if isinstance(env, LWMECPSEnv3):
        axes = {"nodes": 0, "services": None, "pairs": 1, "clock": None}
        return {name: (observation[name], axis) for name, axis in axes.items()}
    vector = observation["observations"] if isinstance(env, LWMECPSEnv2) else observation
    s, n = len(env.scenario.services), len(env.scenario.nodes)
    u = len(env.scenario.sites)
    shapes: list[tuple[str, tuple[int, ...], int | None]] = [
        ("ready", (s, n), 1), ("starting", (s, n), 1), ("utilisation", (s, n), 1),
        ("demand", (s, u), None), ("latency", (s,), None), ("free", (n, 2), 0), ("up", (n,), 0),
        ("clock", (2,), None),
    ]  # fmt: skip
    parts = np.split(vector, np.cumsum([int(np.prod(shape)) for _, shape, _ in shapes])[:-1])
    return {
        name: (part.reshape(shape), axis)
        for part, (name, shape, axis) in zip(parts, shapes, strict=True)
    }


def renumbered(table: ActionTable, order: list[int]) -> NDArray[np.int64]:
    """What number each action has where the nodes stand in another order, [A]."""
    place = np.append(np.argsort(order), -1)  # of each node; -1 stays -1
    rows = zip(table.kind, table.service, table.source, table.target, strict=True)
    number = {tuple(row): index for index, row in enumerate(rows)}
    return np.array(
        [number[kind, s, place[source], place[target]] for kind, s, source, target in number]
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("env_id", ENV_IDS)
@settings(max_examples=10)
@given(scenario=scenarios(), seed=SEEDS, choices=CHOICES, data=st.data())
def test_the_order_of_the_nodes_means_nothing(
    env_id: str,
    kernel: KernelName,
    scenario: Scenario,
    seed: int,
    choices: list[int],
    data: st.DataObject,
) -> None:
    steady = changed(scenario, **STEADY)  # failures are drawn node by node
    order = data.draw(st.permutations(range(len(steady.nodes))))
    nodes = steady.document()["nodes"]
    own = CLASSES[env_id](steady, kernel=kernel)
    other = CLASSES[env_id](changed(steady, nodes=[nodes[n] for n in order]), kernel=kernel)
    own.reset(seed=seed)
    placement = own.state().ready[0]
    seen, _ = own.reset(seed=seed, options={"placement": placement})
    same, _ = other.reset(seed=seed, options={"placement": placement[:, order]})
    table, same_table = own.core.encoding.actions, renumbered(own.core.encoding.actions, order)
    assert len(table) == len(same_table)
    for choice in [*choices, 0]:
        parts, same_parts = node_parts(own, seen), node_parts(other, same)
        for name, (part, axis) in parts.items():
            expected = part if axis is None else np.take(part, order, axis)
            np.testing.assert_allclose(same_parts[name][0], expected, 1e-5, 1e-6, err_msg=name)
        legal = own.core.backend.legal()[0]
        assert np.array_equal(other.core.backend.legal()[0][same_table], legal)
        if env_id != "lwmecps-v1":
            assert np.array_equal(same["action_mask"][same_table], seen["action_mask"])
        action = np.flatnonzero(legal)[choice % legal.sum()]
        seen, reward, *_, info = own.step(action)
        same, same_reward, *_, same_info = other.step(same_table[action])
        assert same_reward == pytest.approx(reward)
        assert same_info == pytest.approx(info)


def actions_of(env: LWMECPSEnv | LWMECPSEnv2 | LWMECPSEnv3) -> NDArray[np.bool_]:
    """Which actions of an environment are legal, [A]; padding is not."""
    model = env.core.encoding.to_model(np.arange(int(env.action_space.n)))
    return (model >= 0) & env.core.backend.legal()[0][model]


def assert_equal(left: Any, right: Any) -> None:
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for name, value in left.items():
            assert_equal(value, right[name])
    else:
        assert np.array_equal(left, right)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("env_id", ENV_IDS)
@settings(max_examples=8)
@given(scenario=scenarios(), seed=SEEDS, choices=CHOICES)
def test_a_refused_action_leaves_no_trace(
    env_id: str, kernel: KernelName, scenario: Scenario, seed: int, choices: list[int]
) -> None:
    options: dict[str, Any] = {"max_services": 3, "max_nodes": 4} if env_id == "lwmecps-v3" else {}
    tried, undisturbed = (
        CLASSES[env_id](scenario, illegal_action="raise", kernel=kernel, **options) for _ in "ab"
    )
    for env in (tried, undisturbed):
        env.reset(seed=seed)
    steps = scenario.episode_steps
    for t, choice in enumerate([*choices, *range(steps)][:steps]):
        legal = actions_of(tried)
        if t == len(choices) or t == steps - 1:
            for action in np.flatnonzero(~legal):
                with pytest.raises(IllegalActionError):
                    tried.step(action)
        taken = np.flatnonzero(legal)[choice % legal.sum()]
        for left, right in zip(tried.step(taken), undisturbed.step(taken), strict=True):
            assert_equal(left, right)
    assert_equal(tried.reset()[0], undisturbed.reset()[0])  # drawn from the same randomness


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=30)
@given(scenario=scenarios(), seed=SEEDS)
def test_pods_that_are_scattered_fit_are_ready_and_play_on_as_if_they_had_always_been_there(
    kernel: KernelName, scenario: Scenario, seed: int
) -> None:
    model = begun(scenario, seed, kernel)
    chooser = np.random.default_rng(seed)
    for _ in range(3):
        model.step(choose(model, chooser))
    before, time_s, up = model.state(), model.time_s, model.node_up.copy()
    model.scatter(np.array([0, 2]), np.random.default_rng(seed))
    after, params = model.state(), model.params
    assert np.array_equal(after.replicas[1], before.replicas[1])
    assert np.array_equal(after.time_s, time_s) and np.array_equal(after.node_up, up)
    assert np.array_equal(after.demand, before.demand)
    used = np.einsum("bsn,bsr->bnr", after.replicas, params.request)
    assert (used <= params.capacity * up[..., None] + 1e-9).all()
    for index in (0, 2):
        if np.array_equal(after.replicas[index], before.replicas[index]):
            continue  # nothing else fits, or the same was drawn
        counts = after.replicas[index].sum(-1)
        assert (params.min_replicas <= counts).all() and (counts <= params.max_replicas).all()
        assert not after.starting[index].any()
    placed = model.ready.copy(), model.starting.copy()
    twin = begun(scenario, seed, "reference" if kernel == "compiled" else "compiled")
    again = np.random.default_rng(seed)
    for _ in range(3):
        twin.step(choose(twin, again))
    twin.scatter(np.array([0, 2]), np.random.default_rng(seed))
    assert np.array_equal(twin.ready, placed[0]) and np.array_equal(twin.starting, placed[1])
    for _ in range(4):
        assert np.array_equal(model.legal(), twin.legal())
        actions = choose(model, chooser)
        assert model.step(actions).cost == pytest.approx(twin.step(actions).cost, rel=1e-9)


def test_scattered_pods_come_to_every_node_in_every_number() -> None:
    model = ClusterModel(load_scenario("tiny"), 400)
    model.reset({index: np.random.default_rng(index) for index in range(400)})
    model.scatter(np.arange(0), np.random.default_rng(0))  # nobody
    model.scatter(np.arange(400), np.random.default_rng(0))
    services, nodes = model.ready.shape[1:]
    for s in range(services):
        counts = model.ready[:, s].sum(-1)
        least, most = model.params.min_replicas[s], model.params.max_replicas[s]
        assert set(counts) == set(range(least, most + 1))
        assert (model.ready[:, s].mean(0) > counts.mean() / nodes / 3).all()
