"""Progress of a training: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from lwmecps_gym.platform.task_progress import Progress as TrainingProgress

LINE_S = 10.0
"""Time between lines where there is no terminal, s."""

Show = Callable[[TrainingProgress], None]


@contextmanager
def follow(console: Console) -> Iterator[Show]:
    """Show progress while the block runs; gives what to call with each new progress."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[details]}"),
    )
    with Progress(*columns, console=console) as bar:
        row = bar.add_task("starting", total=1.0, details="")

        def show(progress: TrainingProgress) -> None:
            bar.update(
                row,
                completed=progress.share,
                description=progress.state.value,
                details=describe(progress),
            )

        yield show


def _lines(console: Console) -> Show:
    last = time.monotonic()

    def show(progress: TrainingProgress) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_S:
            last = time.monotonic()
            console.print(
                f"  {progress.state.value} {progress.share:.0%} {describe(progress)}",
                highlight=False,
                soft_wrap=True,
            )

    return show


def describe(progress: TrainingProgress) -> str:
    """Episode, return, pace and time left, as far as they are known."""
    parts = [f"episode {progress.episode}/{progress.total_episodes}"]
    if progress.episode_return is not None:
        parts.append(f"return {progress.episode_return:.0f}")
    if progress.env_steps_per_s is not None:
        parts.append(f"{progress.env_steps_per_s:,.0f} env steps/s")
    if progress.time_left_s is not None:
        parts.append(f"{progress.time_left_s:.0f} s left")
    return ", ".join(parts)
