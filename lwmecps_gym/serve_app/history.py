"""The history of a training in other shapes: thinned for a picture, as CSV for a table."""

import csv
import io
from collections.abc import Sequence

from lwmecps_gym.platform.models import MetricRecord
from lwmecps_gym.platform.training import TrainingService

CSV = "text/csv"
_PAGE = 1000


def thinned(
    training: TrainingService, task_id: str, since: int, points: int
) -> Sequence[MetricRecord]:
    """Return the history after iteration `since` in at most `points` lines, oldest first.

    Each line stands for a run of iterations, all runs of a length, give or take one: it has the
    counters of the last of them, and the mean of every value over those that have it.

    Raises:
        NotFoundError: There is no such training.
    """
    records = whole(training, task_id, since)
    count = min(points, len(records))
    ends = [len(records) * number // count for number in range(count + 1)] if count else [0]
    return [_mean(records[begin:end]) for begin, end in zip(ends, ends[1:], strict=False)]


def whole(training: TrainingService, task_id: str, since: int) -> list[MetricRecord]:
    """Return the whole history after iteration `since`; raises `NotFoundError`."""
    records: list[MetricRecord] = []
    while True:
        page = training.metrics(task_id, records[-1].iteration if records else since, _PAGE)
        records += page
        if len(page) < _PAGE:
            return records


def as_csv(records: Sequence[MetricRecord]) -> str:
    """Write a history as CSV (RFC 4180): counters, then a column for each value that is in it."""
    names = list(dict.fromkeys(name for record in records for name in record.values))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["iteration", "episode", "env_steps", "time", *names])
    for record in records:
        counters = [record.iteration, record.episode, record.env_steps, record.time.isoformat()]
        writer.writerow([*counters, *(record.values.get(name) for name in names)])
    return text.getvalue()


def _mean(run: Sequence[MetricRecord]) -> MetricRecord:
    values: dict[str, list[float]] = {}
    for record in run:
        for name, value in record.values.items():
            values.setdefault(name, []).append(value)
    means = {name: sum(each) / len(each) for name, each in values.items()}
    return run[-1].model_copy(update={"values": means})
