"""Pictures as PNG files, drawn without a display."""

from pathlib import Path
from typing import TYPE_CHECKING

from lwmecps_gym.platform.errors import InvalidInputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def blank(width: float, height: float) -> "Figure":
    """An empty figure, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", file: Path, dpi: int) -> None:
    """Write a figure.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    try:
        figure.savefig(file, dpi=dpi, format="png")
    except OSError as error:
        raise InvalidInputError(f"picture {file}: cannot be written: {error}") from error
