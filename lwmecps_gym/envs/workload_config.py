"""What a scenario says of its workload: one of diurnal, trace, csv, testapp, poisson.

Files (`csv`, `testapp`) are read when the scenario is: they become a `trace`, averaged over the
control interval, so that a scenario is self-contained wherever it travels.
"""

import csv
import math
import textwrap
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError, ValidationInfo, model_validator

from lwmecps_gym.envs.parts import NonNegative, Part, Positive

DAY_S = 86_400.0
Share = Annotated[float, Field(ge=0, le=1)]


def describe_errors(error: ValidationError, limit: int = 5) -> str:
    """Put a pydantic error in one line: field, what is wrong, and the value."""
    parts = []
    for item in error.errors(include_url=False)[:limit]:
        field = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        shown = textwrap.shorten(repr(item["input"]), 100, placeholder="...")
        value = "" if isinstance(item["input"], dict | list) else f" (value {shown})"
        parts.append(f"{field}: {message}{value}" if field else f"{message}{value}")
    more = error.error_count() - limit
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")


class ServiceShare(Part):
    """Share of a site's requests that go to a service.

    It is `mean (1 + swing cos(2 pi (h - peak_h) / 24))` at hour h; the shares of all services are
    scaled to add up to 1 at every hour.
    """

    mean: Positive
    swing: Share = 0
    peak_h: Annotated[float, Field(ge=0, lt=24)] = 0


Shares = Annotated[dict[str, ServiceShare], Field(min_length=1)]


class Diurnal(Part):
    """Users of each site follow the empirical day, shifted by a phase, with noise."""

    peak_users: dict[str, NonNegative]
    phase_h: dict[str, float] = Field(default_factory=dict)
    low: Share = Field(default=0.05, description="the night's demand as a share of the peak")
    requests_per_user_rps: Positive = 1
    noise: NonNegative = Field(default=0.0, description="standard deviation, share of the mean")
    share: Shares


class Trace(Part):
    """Requests per second of each site, one value per `interval_s`, repeated without end."""

    interval_s: Positive
    requests_rps: dict[str, Annotated[list[NonNegative], Field(min_length=1)]]
    noise: NonNegative = 0.0
    share: Shares

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        lengths = {site: len(values) for site, values in self.requests_rps.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"requests_rps: sites have unequal numbers of values: {lengths}")
        return self


class CsvFile(Part):
    """A CSV file: a time column in seconds, and one column per site with attached users."""

    file: str
    time_column: str = "t_s"
    requests_per_user_rps: Positive = 1
    share: Shares


class TestappFiles(Part):
    """Load profiles of lwmecps-testapp, one JSON file per site.

    Each of `concurrent_users` sends a request every `request_interval` seconds, unless
    `requests_per_user_rps` says otherwise.
    """

    __test__ = False  # the name is no test for pytest

    files: Annotated[dict[str, str], Field(min_length=1)]
    requests_per_user_rps: Positive | None = None
    share: Shares


class Poisson(Part):
    """Users of each site are Poisson distributed around a constant mean, anew in each step."""

    mean_users: dict[str, NonNegative]
    requests_per_user_rps: Positive = 1
    share: Shares


class _Files(Part):
    csv: CsvFile | None = None
    testapp: TestappFiles | None = None


class WorkloadConfig(Part):
    """Exactly one kind of workload."""

    diurnal: Diurnal | None = None
    trace: Trace | None = None
    poisson: Poisson | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict) or not ({"csv", "testapp"} & data.keys()):
            return data
        context = info.context or {}
        folder = context.get("folder")
        interval_s = context.get("interval_s", 60)
        if not isinstance(interval_s, int | float) or interval_s <= 0:
            raise ValueError(f"control_interval_s: must be above 0 (value {interval_s!r})")
        if folder is None:
            raise ValueError(
                "csv and testapp name files, and only a scenario that is itself a file may do so; "
                "send the numbers as a trace"
            )
        if len(data) > 1:
            raise ValueError(f"give one kind of workload, not {sorted(map(str, data))}")
        files = _Files.model_validate(data)
        if files.csv:
            return {"trace": _read_csv(folder / files.csv.file, files.csv, interval_s)}
        if files.testapp:
            return {"trace": _read_testapp(folder, files.testapp, interval_s)}
        return {}

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "give exactly one of diurnal, trace, csv, testapp, poisson; "
                f"this has {given or 'none'}"
            )
        return self

    @property
    def kind(self) -> Diurnal | Trace | Poisson:
        """The one kind that is given."""
        chosen = self.diurnal or self.trace or self.poisson
        assert chosen is not None
        return chosen

    def check(self, sites: list[str], services: list[str]) -> None:
        """Raise ValueError unless every site and service is spoken of, and no other site is."""
        kind = self.kind
        if isinstance(kind, Diurnal):
            field, named = "diurnal.peak_users", set(kind.peak_users)
            strange = sorted(set(kind.phase_h) - set(sites))
            if strange:
                raise ValueError(f"workload.diurnal.phase_h: no site is called {strange}")
        elif isinstance(kind, Trace):
            field, named = "trace.requests_rps (or the files)", set(kind.requests_rps)
        else:
            field, named = "poisson.mean_users", set(kind.mean_users)
        if named != set(sites):
            missing, unknown = sorted(set(sites) - named), sorted(named - set(sites))
            raise ValueError(f"workload.{field}: missing sites {missing}, unknown {unknown}")
        absent = sorted(set(services) - set(kind.share))
        if absent:
            raise ValueError(f"workload share: services {absent} have none")


def _read_csv(path: Path, config: CsvFile, interval_s: float) -> dict[str, Any]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or [])
            lines, rows = [], []
            for row in reader:
                lines.append(reader.line_num)
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"csv.file: cannot read {path}: {error}") from error
    if config.time_column not in columns:
        raise ValueError(f"csv.time_column: {path} has no column {config.time_column!r}: {columns}")
    if len(set(columns)) < len(columns):
        raise ValueError(f"csv.file: {path} names a column twice: {columns}")
    if len(rows) < 2:
        raise ValueError(f"csv.file: {path} needs two rows or more, it has {len(rows)}")
    values = np.empty((len(rows), len(columns)))
    for index, (line, row) in enumerate(zip(lines, rows, strict=True)):
        if None in row:
            raise ValueError(
                f"csv.file: {path} line {line}: more cells than the header has columns"
            )
        for column, name in enumerate(columns):
            try:
                values[index, column] = _number(row[name])
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"csv.file: {path} line {line}, column {name}: "
                    f"{row[name]!r} is no number of 0 or more"
                ) from error
    times = values[:, columns.index(config.time_column)]
    steps = np.diff(times)
    if not np.all(steps > 0):
        line = lines[int(np.argmin(steps > 0)) + 1]
        raise ValueError(f"csv.file: {path} line {line}: times must rise")
    durations = np.append(steps, steps[-1])
    sites = [name for name in columns if name != config.time_column]
    return {
        "interval_s": interval_s,
        "share": config.share,
        "requests_rps": {
            site: _average(
                values[:, columns.index(site)] * config.requests_per_user_rps, durations, interval_s
            )
            for site in sites
        },
    }


def _number(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


class _LoadProfile(BaseModel):
    concurrent_users: NonNegative
    request_interval: Positive
    profile_duration: Positive


class _Settings(BaseModel):
    load_profiles: Annotated[list[_LoadProfile], Field(min_length=1)]


class _TestappProfile(BaseModel):
    settings: _Settings


def _read_testapp(folder: Path, config: TestappFiles, interval_s: float) -> dict[str, Any]:
    requests = {}
    for site, name in config.files.items():
        path = folder / name
        try:
            content = _TestappProfile.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ValueError(f"testapp.files.{site}: {path}: {describe_errors(error)}") from error
        except OSError as error:
            raise ValueError(f"testapp.files.{site}: cannot read {path}: {error}") from error
        profiles = content.settings.load_profiles
        rates = [
            item.concurrent_users * (config.requests_per_user_rps or 1 / item.request_interval)
            for item in profiles
        ]
        durations = [item.profile_duration for item in profiles]
        requests[site] = _average(np.array(rates), np.array(durations), interval_s)
    return {"interval_s": interval_s, "share": config.share, "requests_rps": requests}


def _average(
    rates: NDArray[np.float64], durations: NDArray[np.float64], interval_s: float
) -> list[float]:
    """Average a step function over whole control intervals, without a shorter rest at the end."""
    edges = np.concatenate([[0.0], np.cumsum(durations)])
    integral = np.concatenate([[0.0], np.cumsum(rates * durations)])
    count = max(1, int(edges[-1] // interval_s))
    marks = np.minimum(np.arange(count + 1) * interval_s, edges[-1])
    totals = np.diff(np.interp(marks, edges, integral))
    return [float(value) for value in totals / np.diff(marks)]
