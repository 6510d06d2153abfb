"""The episodes of a training, from the columns that its history has of them."""

import csv
import io
from collections.abc import Sequence

from lwmecps_gym.platform.models import MetricRecord
from lwmecps_gym.serve_app.views import EpisodeLine

_COUNT = "episodes"


def episode_lines(records: Sequence[MetricRecord]) -> list[EpisodeLine]:
    """Return the lines of episodes that iterations have, in their order."""
    return [
        EpisodeLine(
            iteration=record.iteration,
            time=record.time,
            episodes=round(line.pop(_COUNT, 1.0)),
            values=line,
        )
        for record in records
        for line in (
            dict(zip(record.episodes, row, strict=True))
            for row in zip(*record.episodes.values(), strict=True)
        )
    ]


def joined(lines: Sequence[EpisodeLine], points: int) -> list[EpisodeLine]:
    """Return at most `points` lines, each the mean over the episodes of a run of lines."""
    count = min(points, len(lines))
    ends = [len(lines) * number // count for number in range(count + 1)] if count else [0]
    return [_mean(lines[begin:end]) for begin, end in zip(ends, ends[1:], strict=False)]


def as_csv(lines: Sequence[EpisodeLine]) -> str:
    """Write lines as CSV (RFC 4180), with a column for each value that is in one."""
    names = list(dict.fromkeys(name for line in lines for name in line.values))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["iteration", "time", "episodes", *names])
    for line in lines:
        values = (line.values.get(name) for name in names)
        writer.writerow([line.iteration, line.time.isoformat(), line.episodes, *values])
    return text.getvalue()


def _mean(run: Sequence[EpisodeLine]) -> EpisodeLine:
    total = sum(line.episodes for line in run)
    values = {
        name: sum(line.values[name] * line.episodes for line in run) / total
        for name in run[-1].values
    }
    return run[-1].model_copy(update={"episodes": total, "values": values})
