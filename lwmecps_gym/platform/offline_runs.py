"""W&B runs that were kept on the disk, found without W&B, which takes a second to import."""

import shlex
from pathlib import Path


def sync_command(data_dir: Path, run_ids: str) -> str | None:
    """Return the shell command that sends runs which were kept offline; None if there are none.

    Args:
        data_dir: The data folder.
        run_ids: The id of a run, which has a folder for each time that it went on, or a pattern of
            several, in which `*` stands for anything.
    """
    folder, pattern = data_dir.resolve() / "wandb", f"offline-run-*-{run_ids}"
    return f"wandb sync {shlex.quote(str(folder))}/{pattern}" if any(folder.glob(pattern)) else None
