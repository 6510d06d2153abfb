"""What one step of a model or of a live cluster brought."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lwmecps_gym.envs.cluster import Floats
from lwmecps_gym.envs.performance import Performance
from lwmecps_gym.platform.errors import ConflictError


@dataclass(frozen=True)
class Step:
    """One step of B clusters.

    Attributes:
        terms: weighted terms of the cost by name, each [B].
        migrations: pods started or moved, [B].
        latency_ms, violated, failed: as in `Performance`, [B].
    """

    terms: dict[str, Floats]
    migrations: Floats
    latency_ms: Floats
    violated: Floats
    failed: Floats
    _performance: Performance | None = field(default=None, repr=False)

    @classmethod
    def of(cls, terms: dict[str, Floats], performance: Performance, migrations: Floats) -> "Step":
        """A step of which all is known."""
        return cls(
            terms=terms,
            migrations=migrations,
            latency_ms=performance.latency_ms,
            violated=performance.violated,
            failed=performance.failed,
            _performance=performance,
        )

    @property
    def performance(self) -> Performance:
        """Flows and tails by service, site and node.

        Raises:
            ConflictError: a compiled model made the step, which does not keep them.
        """
        if self._performance is None:
            raise ConflictError(
                "the compiled model keeps no flows and no tails of a step; "
                "make the ClusterModel with kernel='reference'"
            )
        return self._performance

    @cached_property
    def cost(self) -> Floats:
        """Sum of the terms, [B]."""
        return np.asarray(sum(self.terms.values()))
