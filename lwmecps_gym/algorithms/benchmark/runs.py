"""Play the cases, training what has to be trained."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel

from lwmecps_gym.algorithms.benchmark.cases import TEST_SEED, Case, Trained
from lwmecps_gym.algorithms.benchmark.kept import Kept
from lwmecps_gym.algorithms.benchmark.report import Report, Run, summarise
from lwmecps_gym.algorithms.catalog import validate_parameters
from lwmecps_gym.algorithms.evaluation import evaluate_policies
from lwmecps_gym.algorithms.optimum.bound import bound
from lwmecps_gym.algorithms.optimum.clairvoyant import clairvoyant
from lwmecps_gym.algorithms.optimum.solver import Solver
from lwmecps_gym.algorithms.optimum.trace import record
from lwmecps_gym.algorithms.pretrained import PREFIX, pretrained_digest
from lwmecps_gym.algorithms.roster import find_policies
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.simulator import ClusterModel
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import open_store
from lwmecps_gym.platform.errors import NotFoundError
from lwmecps_gym.platform.models import slug

Say = Callable[[str], None]


class TrainedModel(BaseModel):
    """A model that a benchmark trained."""

    model_id: str
    version: int
    digest: str


class FloorCosts(BaseModel):
    """What the days of a seed cost at best, mean cost of a step."""

    bound: float
    exact: bool
    clairvoyant: float | None


def find_floor(case: Case, scenario: Scenario, seed: int) -> FloorCosts:
    """What the days of a case cost at best; the bound is a mean over the steps it is found for."""
    solver = Solver(scenario)
    model = ClusterModel(scenario, case.days)
    model.reset({i: np.random.default_rng([seed, i]) for i in range(case.days)})
    least, exact, known = [], True, []
    for trace in record(model):
        shown = slice(None, None, case.bound_every)
        part = replace(trace, demand=trace.demand[shown], node_up=trace.node_up[shown])
        found = bound(solver, part)
        least.append(found.mean)
        exact &= found.exact
        if case.clairvoyant:
            known.append(clairvoyant(solver, trace).cost)
    return FloorCosts(
        bound=float(np.mean(least)),
        exact=exact,
        clairvoyant=float(np.mean(known)) if known else None,
    )


def run_benchmark(
    cases: Iterable[Case], settings: Settings, say: Say, *, fresh: bool = False
) -> Report:
    """Train, play and compare; what an earlier call of this version found is taken from disk.

    Args:
        cases: what is compared.
        settings: where models and results are kept.
        say: is told what is being done.
        fresh: take nothing from disk.
    """
    kept = Kept(settings.data_dir / "benchmark", fresh)
    with ExitStack() as stack:
        bench = _Benchmark(settings, kept, say, stack)
        return summarise([(case, bench.play(case)) for case in cases])


@dataclass(frozen=True)
class Player:
    """A policy: what the table calls it, how it is found, and the digest of its model."""

    name: str
    policy: str
    digest: str | None


class _Benchmark:
    def __init__(self, settings: Settings, kept: Kept, say: Say, stack: ExitStack) -> None:
        self._settings, self._kept, self._say, self._stack = settings, kept, say, stack
        self._ray = False

    def play(self, case: Case) -> list[Run]:
        """All runs of a case; each seed has its own days, which all policies play."""
        runs = []
        for seed in range(case.seeds):
            scenario = case.draw(seed)
            floor = self._floor(case, scenario, seed) if case.bound_every else None
            runs += [
                self._run(case, scenario, seed, player, floor)
                for player in self._players(case, scenario, seed)
            ]
        return runs

    def _players(self, case: Case, scenario: Scenario, seed: int) -> Iterator[Player]:
        for name in case.policies:
            first, _, rest = name.partition(":")
            yield Player(name, name, pretrained_digest(rest) if first == PREFIX else None)
        for trained in case.trained:
            model = self._train(case, trained, scenario, seed % trained.seeds)
            policy = f"{model.model_id}:{model.version}"
            yield Player(f"{trained.algorithm} ({trained.episodes:,} ep.)", policy, model.digest)

    def _run(
        self, case: Case, scenario: Scenario, seed: int, player: Player, floor: FloorCosts | None
    ) -> Run:
        what = self._days(case, scenario, seed)
        what |= {"policy": player.policy, "digest": player.digest}

        def measure() -> Run:
            self._say(f"{case.name}, seed {seed}: {player.name} ...")
            policies = find_policies([player.policy], scenario, self._settings, seed)
            result, _ = evaluate_policies(scenario, policies, case.days, TEST_SEED + seed)
            row = result.rows[0]
            return Run(
                seed=seed,
                policy=player.name,
                cost=row.cost,
                latency_ms=row.latency_ms.mean,
                violation_share=row.violation_share,
                replicas=row.replicas_mean,
                migrations_per_hour=row.migrations_per_hour,
                decision_ms=row.decision_ms.p50,
            )

        run = self._kept.get(Run, f"{case.name}-{seed}-{slug(player.name)}", what, measure)
        if floor is None:
            return run
        least, known = floor.bound, floor.clairvoyant
        return run.model_copy(
            update={
                "gap_to_bound": run.cost / least - 1 if least > 0 else None,
                "gap_to_clairvoyant": run.cost / known - 1 if known else None,
            }
        )

    def _floor(self, case: Case, scenario: Scenario, seed: int) -> FloorCosts:
        def measure() -> FloorCosts:
            self._say(f"{case.name}, seed {seed}: the floor ...")
            return find_floor(case, scenario, TEST_SEED + seed)

        what = self._days(case, scenario, seed)
        what |= {"clairvoyant": case.clairvoyant, "bound_every": case.bound_every}
        return self._kept.get(FloorCosts, f"{case.name}-{seed}-floor", what, measure)

    def _train(self, case: Case, trained: Trained, scenario: Scenario, seed: int) -> TrainedModel:
        """Train a model, unless it is there already."""
        known = validate_parameters(trained.algorithm, dict(trained.parameters))
        request = {
            "name": f"benchmark-{trained.algorithm}-{case.name}-{seed}",
            "model_type": trained.algorithm,
            "parameters": known.model_dump(mode="json"),  # defaults too: other ones, other models
            "total_episodes": trained.episodes,
            "scenario": scenario.document(),
            "env": trained.env,
            "seed": seed,
        }

        def measure() -> TrainedModel:
            from lwmecps_gym.algorithms.runner import train_here

            self._start_ray()
            label = f"{case.name}: training {trained.algorithm}, seed {seed}"
            self._say(f"{label} ...")
            task = train_here(
                request, self._settings, lambda now: self._say(f"{label}, {now.share:.0%} ...")
            )
            store = open_store(self._settings)
            version = store.get_version(str(task.model_id), task.version)
            store.close()
            return TrainedModel(
                model_id=version.model_id, version=version.version, digest=version.digest
            )

        label = f"{case.name}-{seed}-{trained.algorithm}-trained"
        return self._kept.get(TrainedModel, label, request, measure, self._is_there)

    def _is_there(self, model: TrainedModel) -> bool:
        """Whether the registry still has a model."""
        store = open_store(self._settings)
        try:
            return store.get_version(model.model_id, model.version).digest == model.digest
        except NotFoundError:
            return False
        finally:
            store.close()

    def _start_ray(self) -> None:
        """Start Ray once for all trainings, and end it with the benchmark."""
        if not self._ray:
            from lwmecps_gym.algorithms.ray_session import ray_running

            self._stack.enter_context(ray_running())
            self._ray = True

    def _days(self, case: Case, scenario: Scenario, seed: int) -> dict[str, object]:
        return {"scenario": scenario.document(), "days": case.days, "seed": seed}
