"""Sweep: what to tune, and over which values of its parameters to search. No Ray needed.

A sweep is a YAML file. `load_sweep` reads one by path or, for those that come with the package,
by name.
"""

import math
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lwmecps_gym.algorithms.catalog import entry_of, validate_parameters
from lwmecps_gym.algorithms.heuristics import HEURISTICS, check_knobs
from lwmecps_gym.envs.scenario import packaged_scenarios
from lwmecps_gym.envs.workload_config import describe_errors
from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError

Metric = Literal["step_reward", "latency_ms", "violated", "migrations"]
"""What a trial can be scored by: means per environment step, which every iteration has."""

Mode = Literal["max", "min"]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Domain(_Part):
    """The values that one parameter may take: exactly one of the fields."""

    choice: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    grid: Annotated[tuple[Any, ...], Field(min_length=1)] | None = Field(
        default=None, description="each is tried, with each of every other grid"
    )
    uniform: tuple[Finite, Finite] | None = Field(default=None, description="from, to")
    loguniform: tuple[Finite, Finite] | None = Field(
        default=None, description="from, to; both above 0"
    )
    randint: tuple[int, int] | None = Field(default=None, description="from, to, both included")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len(self.model_fields_set) != 1 or self.values is None:
            raise ValueError(
                f"give exactly one of {list(Domain.model_fields)}, "
                f"not {sorted(self.model_fields_set)}"
            )
        if self.kind not in ("choice", "grid") and not self.values[0] < self.values[1]:
            raise ValueError(f"{self.kind}: {self.values[0]} must be below {self.values[1]}")
        if self.kind == "loguniform" and self.values[0] <= 0:
            raise ValueError(f"loguniform: {self.values[0]} must be above 0")
        return self

    @property
    def kind(self) -> str:
        """Name of the field that is given."""
        return next(iter(self.model_fields_set))

    @property
    def values(self) -> tuple[Any, ...]:
        """The values to choose from, or the two ends of the range."""
        return getattr(self, self.kind)


class Asha(_Part):
    """Asynchronous successive halving (Li et al. 2020): only the best of each rung go on."""

    grace_period: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        description="episodes before a trial can be stopped: the first rung"
    )
    reduction_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = Field(
        default=2, description="one in so many goes on, to a rung so many times as far"
    )


class Scheduler(_Part):
    """Who stops a trial before its last episode."""

    asha: Asha


class SweepConfig(_Part):
    """A sweep: trials whose parameters are drawn from the search space.

    A trial is a training, or whole days played by a heuristic.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    model_type: str
    env: str | None = Field(
        default=None,
        description="lwmecps-v1, -v2 or -v3; unset: what the algorithm prefers; not of heuristics",
    )
    scenario: str | dict[str, Any] = Field(
        default="four-stations",
        description="Name of a packaged scenario, path relative to the sweep's file, or an object.",
    )
    total_episodes: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] = Field(
        description="Episodes of a trial that is not stopped before; days, of a heuristic."
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=0, description="Of the draw from the search space, and of every trial."
    )
    metric: Metric = "step_reward"
    mode: Mode = "max"
    score_episodes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=4,
        description="A training's score is the metric's mean over its latest so many.",
    )
    num_samples: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1, description="Draws; each is tried with every combination of the grids."
    )
    max_concurrent: Annotated[int, Field(ge=1)] = Field(
        default=2, description="Trials at once; each takes one CPU."
    )
    scheduler: Scheduler | None = Field(
        default=None, description="Unset: no trial is stopped. Not for heuristics."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Parameters that are the same in every trial."
    )
    search_space: Annotated[dict[str, Domain], Field(min_length=1)]

    @property
    def heuristic(self) -> bool:
        """Whether trials play a heuristic instead of training."""
        return self.model_type in HEURISTICS

    @property
    def num_trials(self) -> int:
        """Number of trials."""
        grids = [domain for domain in self.search_space.values() if domain.kind == "grid"]
        return self.num_samples * math.prod(len(domain.values) for domain in grids)

    def policy(self, drawn: dict[str, Any]) -> str | None:
        """How `lwmecps evaluate --policy` takes the heuristic of a trial; None of a training."""
        if not self.heuristic:
            return None
        knobs = {**self.parameters, **drawn}
        return f"{self.model_type}:" + ",".join(f"{name}={value}" for name, value in knobs.items())

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            self._check_parameters(self.parameters)
        except InvalidInputError as error:
            raise ValueError(str(error)) from error
        if self.heuristic:
            for field in {"env", "scheduler", "score_episodes"} & self.model_fields_set:
                raise ValueError(f"{field}: {self.model_type} does not learn; leave it out")
        elif self.env is not None and self.env not in entry_of(self.model_type).envs:
            raise ValueError(
                f"env: {self.model_type} does not learn on {self.env!r}; "
                f"choose of {list(entry_of(self.model_type).envs)}"
            )
        wanted = "max" if self.metric == "step_reward" else "min"
        if self.mode != wanted:
            raise ValueError(f"mode: the best {self.metric} is its {wanted}, not {self.mode!r}")
        if self.scheduler and self.scheduler.asha.grace_period > self.total_episodes:
            raise ValueError(
                f"scheduler.asha.grace_period: {self.scheduler.asha.grace_period:g} is above "
                f"total_episodes {self.total_episodes}"
            )
        for name, domain in self.search_space.items():
            self._check_domain(name, domain)
        return self

    def _check_domain(self, name: str, domain: Domain) -> None:
        """Refuse a domain that could give an illegal value; legal ends make a legal range."""
        fields = self._parameters_type().model_fields
        where = f"search_space.{name}"
        if name not in fields:
            raise ValueError(
                f"{where}: {self.model_type} has no such parameter; it has {sorted(fields)}"
            )
        if name in self.parameters:
            raise ValueError(f"{where}: the same parameter is fixed under parameters")
        kinds = {"float": ("uniform", "loguniform"), "int": ("randint",)}
        ranges = kinds.get(getattr(fields[name].annotation, "__name__", ""), ())
        allowed = ("choice", "grid", *ranges)
        if domain.kind not in allowed:
            raise ValueError(f"{where}: {domain.kind} does not fit it; use {' or '.join(allowed)}")
        for value in domain.values:
            try:
                self._check_parameters({**self.parameters, name: value})
            except InvalidInputError as error:
                raise ValueError(f"{where}.{domain.kind}: {error}") from error

    def _parameters_type(self) -> type[BaseModel]:
        if self.heuristic:
            return HEURISTICS[self.model_type].knobs_type
        return entry_of(self.model_type).parameters

    def _check_parameters(self, parameters: dict[str, Any]) -> None:
        if self.heuristic:
            check_knobs(HEURISTICS[self.model_type], parameters)
        else:
            validate_parameters(self.model_type, parameters)


def packaged_sweeps() -> list[str]:
    """Names of the sweeps that come with the package."""
    files = resources.files(__package__).iterdir()
    return sorted(item.name.removesuffix(".yaml") for item in files if item.name.endswith(".yaml"))


def load_sweep(name_or_path: str | Path) -> SweepConfig:
    """Read a sweep by packaged name or by path.

    Args:
        name_or_path: A name of `packaged_sweeps()`, or a path to a YAML file. A scenario that the
            file names by path is relative to it.

    Raises:
        NotFoundError: There is neither such a name nor such a file.
        InvalidInputError: The content is wrong; the message names file, field and value.
    """
    if str(name_or_path) in packaged_sweeps():
        return _read(resources.files(__package__) / f"{name_or_path}.yaml", folder=None)
    path = Path(name_or_path)
    if not path.is_file():
        raise NotFoundError(
            f"no sweep {str(name_or_path)!r}: neither a file nor one of {packaged_sweeps()}"
        )
    return _read(path, folder=path.parent)


def _read(file: Traversable, folder: Path | None) -> SweepConfig:
    label = str(file) if folder is not None else file.name
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"{label}: cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidInputError(
            f"{label}: not valid YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(content, dict):
        raise InvalidInputError(f"{label}: a sweep is a mapping, this is {type(content).__name__}")
    try:
        config = SweepConfig.model_validate(content)
    except ValidationError as error:
        raise InvalidInputError(f"{label}: {describe_errors(error)}") from error
    scenario = config.scenario
    if folder is None or isinstance(scenario, dict) or scenario in packaged_scenarios():
        return config
    return config.model_copy(update={"scenario": str(folder / scenario)})
