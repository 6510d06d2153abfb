"""A progress bar for a training, on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from lwmecps_gym.platform.training import Progress as TrainingProgress

Show = Callable[[TrainingProgress], None]


@contextmanager
def follow(console: Console) -> Iterator[Show]:
    """Draw a bar while the block runs; gives what to call with each new progress."""
    columns = (
        TextColumn("{task.fields[state]:>9}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("episode {task.fields[episode]}"),
        TextColumn("return {task.fields[reward]}"),
        TextColumn("{task.fields[pace]} steps/s"),
        TextColumn("{task.fields[left]} left"),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as bar:
        row = bar.add_task(
            "", total=1.0, state="starting", episode="-", reward="-", pace="-", left="-"
        )

        def show(progress: TrainingProgress) -> None:
            reward, pace = progress.episode_return, progress.env_steps_per_s
            left = progress.time_left_s
            bar.update(
                row,
                completed=progress.share,
                state=progress.state.value,
                episode=f"{progress.episode}/{progress.total_episodes}",
                reward="-" if reward is None else f"{reward:.0f}",
                pace="-" if pace is None else f"{pace:,.0f}",
                left="-" if left is None else f"{left:.0f} s",
            )

        yield show
