"""Scenario: everything that describes a cluster, its services, its users and what counts as good.

A scenario is a YAML or JSON file (or an object sent to the API). `load_scenario` reads one by path
or, for those that come with the package, by name.
"""

import json
import os
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from lwmecps_gym.envs.family import ScenarioFamily
from lwmecps_gym.envs.parts import NonNegative, Part, Positive
from lwmecps_gym.envs.placement import spread_minimum
from lwmecps_gym.envs.workload_config import WorkloadConfig, describe_errors
from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError, ScenarioError

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*)$")]
Scale = tuple[Positive, Positive]


class Location(Part):
    """Geographic coordinates, from which round-trip times can be derived."""

    lat: Annotated[float, Field(ge=-90, le=90)] | None = None
    lon: Annotated[float, Field(ge=-180, le=180)] | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.lat is None) != (self.lon is None):
            raise ValueError("give both lat and lon, or neither")
        return self


class Node(Location):
    """A Kubernetes node: its allocatable resources."""

    name: Name
    cpu: Positive = Field(description="cores")
    memory_mib: Positive = Field(description="MiB")
    tx_mbps: Positive = Field(default=1000, description="Mbit/s out")
    rx_mbps: Positive = Field(default=1000, description="Mbit/s in")
    max_pods: Annotated[int, Field(ge=1)] = 110


class Service(Part):
    """A service (a Deployment); resources are the requests of one replica."""

    name: Name
    cpu: Positive = Field(description="cores per replica")
    memory_mib: NonNegative = Field(default=0, description="MiB per replica")
    tx_mbps: NonNegative = Field(default=0, description="Mbit/s per replica")
    rx_mbps: NonNegative = Field(default=0, description="Mbit/s per replica")
    rate_rps: Positive = Field(description="service rate of one replica, requests/s")
    slo_ms: Positive = Field(description="latency that a request should stay below, ms")
    min_replicas: Annotated[int, Field(ge=0)] = 1
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 10
    startup_s: NonNegative = Field(default=0, description="s before a new replica serves")
    image: str = Field(
        default="registry.k8s.io/pause:3.10", description="container image, on a live cluster"
    )

    @model_validator(mode="after")
    def _min_below_max(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}"
            )
        return self


class Site(Location):
    """Where users attach (a base station)."""

    name: Name
    rtt_ms: dict[str, NonNegative] = Field(
        default_factory=dict, description="round trip to each node by name, ms"
    )


class Weights(Part):
    """Weights of the terms of the cost."""

    latency: NonNegative = 1.0
    violation: NonNegative = 1.0
    resources: NonNegative = 0.2
    balance: NonNegative = 0.05
    migration: NonNegative = 0.02


class Failures(Part):
    """Exponential times between failures and to repair of each node; 0 means nodes never fail."""

    node_mtbf_s: NonNegative = 0
    node_mttr_s: NonNegative = 0

    @model_validator(mode="after")
    def _repair(self) -> Self:
        if self.node_mtbf_s > 0 and self.node_mttr_s <= 0:
            raise ValueError("node_mttr_s must be above 0 when nodes fail (node_mtbf_s > 0)")
        return self


class Randomise(Part):
    """Domain randomisation: each range is a factor drawn per episode and item, uniformly."""

    node_cpu: Scale | None = None
    service_rate: Scale | None = None
    rtt: Scale | None = None
    demand: Scale | None = None
    start_h: tuple[NonNegative, NonNegative] | None = Field(
        default=None, description="hour of the day at which an episode starts"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for field in type(self).model_fields:
            bounds = getattr(self, field)
            if bounds is not None and bounds[0] > bounds[1]:
                raise ValueError(f"{field}: the lower bound {bounds[0]} is above {bounds[1]}")
        return self

    @property
    def least_cpu(self) -> float:
        """Smallest factor on the CPU of a node."""
        return min(1.0, self.node_cpu[0]) if self.node_cpu else 1.0


class Scenario(Part):
    """A cluster, its services, its users, and the cost of a step."""

    name: Name
    description: str = ""
    control_interval_s: Positive = 60
    episode_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 1440
    routing: Literal["prefer-close", "random"] = "prefer-close"
    queue: Literal["shared", "split"] = "shared"
    utilisation_cap: Annotated[float, Field(gt=0, lt=1)] = 0.9
    timeout_ms: Positive = 400
    latency_scale_ms: Positive = 100
    ms_per_km: NonNegative = Field(
        default=0.02, description="round-trip ms per km, where rtt comes from coordinates"
    )
    rtt_base_ms: NonNegative = Field(
        default=2, description="round-trip ms at distance 0, where rtt comes from coordinates"
    )
    weights: Weights = Weights()
    nodes: Annotated[tuple[Node, ...], Field(min_length=1, max_length=10_000)]
    services: Annotated[tuple[Service, ...], Field(min_length=1, max_length=1_000)]
    sites: Annotated[tuple[Site, ...], Field(min_length=1, max_length=10_000)]
    workload: WorkloadConfig
    failures: Failures = Failures()
    randomise: Randomise = Randomise()
    heuristics: dict[str, dict[str, int | float]] = Field(
        default_factory=dict,
        description="knobs of heuristics by name, as a sweep found them on its training days",
    )
    family: ScenarioFamily | None = Field(
        default=None, description="clusters of several sizes to train on, drawn by its numbers"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for field in ("nodes", "services", "sites"):
            names = [item.name for item in getattr(self, field)]
            double = sorted({name for name in names if names.count(name) > 1})
            if double:
                raise ValueError(f"{field}: names must be unique, {double} are not")
        node_names = {node.name for node in self.nodes}
        for site in self.sites:
            unknown = sorted(set(site.rtt_ms) - node_names)
            if unknown:
                raise ValueError(f"sites.{site.name}.rtt_ms: no node is called {unknown}")
            for node in self.nodes:
                located = site.lat is not None and node.lat is not None
                if node.name not in site.rtt_ms and not located:
                    raise ValueError(
                        f"sites.{site.name}: no round-trip time to node {node.name}; "
                        "give rtt_ms, or lat and lon on both"
                    )
        self.workload.check(
            sites=[site.name for site in self.sites],
            services=[service.name for service in self.services],
        )
        try:
            spread_minimum(self, self.randomise.least_cpu)
        except InvalidInputError as error:
            raise ValueError(str(error)) from error
        return self

    def only(self, service: str) -> "Scenario":
        """Return the scenario with one of its services alone, its demand unchanged."""
        kept = tuple(item for item in self.services if item.name == service)
        if not kept:
            raise NotFoundError(
                f"scenario {self.name} has no service {service!r}; "
                f"it has {[item.name for item in self.services]}"
            )
        return self.model_copy(update={"services": kept})

    def document(self) -> dict[str, Any]:
        """Return the scenario as a self-contained JSON object (no files are named in it)."""
        return self.model_dump(mode="json", exclude_none=True)


class _FamilyAlone(Part):
    family: ScenarioFamily


def packaged_scenarios() -> list[str]:
    """Names of the scenarios that come with the package."""
    folder = resources.files(__package__) / "scenarios"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.is_file())


def load_scenario(source: str | Path | dict[str, Any]) -> Scenario:
    """Read a scenario by packaged name, by path, or from an object.

    Args:
        source: a name of `packaged_scenarios()`, a path to a YAML or JSON file (what it names is
            relative to it), or the object itself, which may not name files.

    Raises:
        NotFoundError: there is neither such a name nor such a file.
        ScenarioError: the content is wrong; the message names file, field and value.
    """
    if isinstance(source, dict):
        return _validate(source, "scenario", folder=None)
    if str(source) in packaged_scenarios():
        packaged = resources.files(__package__) / "scenarios" / f"{source}.yaml"
        return _validate(_parse(packaged, str(source)), str(source), folder=None)
    path = Path(source)
    if not os.path.isfile(path):  # False, not an error, for a name that no path can have
        raise NotFoundError(
            f"no scenario {str(source)!r}: neither a file nor one of {packaged_scenarios()}"
        )
    return _validate(_parse(path, str(path)), str(path), folder=path.parent)


def _parse(file: Traversable, label: str) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text) if file.name.endswith(".json") else yaml.safe_load(text)
    except OSError as error:
        raise ScenarioError(f"{label}: cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ScenarioError(f"{label}: not valid YAML or JSON: {reason}") from error


def _validate(content: Any, label: str, folder: Path | None) -> Scenario:
    if not isinstance(content, dict):
        raise ScenarioError(f"{label}: a scenario is a mapping, this is {type(content).__name__}")
    try:
        if set(content) == {"family"}:
            from lwmecps_gym.envs.generate import family_scenario  # it draws scenarios

            return family_scenario(_FamilyAlone.model_validate(content).family)
        return Scenario.model_validate(
            content,
            context={"folder": folder, "interval_s": content.get("control_interval_s", 60)},
        )
    except ValidationError as error:
        raise ScenarioError(f"{label}: {describe_errors(error)}") from error
