"""How the layout of the store came about, step by step; every back end takes the same steps.

A store remembers how many it has taken. Whoever opens it reads that number and, unless steps are
missing, writes nothing. A step adds collections or indexes, so that it can be taken twice, by two
processes at once, and in a store that is at work.
"""

from collections.abc import Mapping

from lwmecps_gym.platform.errors import InvalidInputError

MIGRATIONS: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {
        "tasks": ("state", "model_type"),
        "metrics": ("task_id",),
        "models": (),
        "versions": ("model_id", "task_id"),
        "deployments": (),
    },
    {"aliases": ("model_id",), "api_keys": (), "audit": ("who",)},
    {"answers": ()},
    {"serving": ()},
)
"""Steps: collections that come into being or get more indexes, and the fields of those indexes.

Steps are added at the end; one that was released never changes.
"""

COLLECTIONS = tuple(dict.fromkeys(collection for step in MIGRATIONS for collection in step))
"""Every collection."""


def missing_steps(taken: int, where: str) -> tuple[Mapping[str, tuple[str, ...]], ...]:
    """Return the steps that a store has yet to take.

    Args:
        taken: How many it has taken.
        where: The store, for the message.

    Raises:
        InvalidInputError: the store has taken steps that this version does not know.
    """
    if taken > len(MIGRATIONS):
        raise InvalidInputError(
            f"{where} has layout {taken}, this lwmecps-gym knows {len(MIGRATIONS)} at most: it was "
            "used by a newer version; upgrade to that, or choose another store"
        )
    return MIGRATIONS[taken:]
