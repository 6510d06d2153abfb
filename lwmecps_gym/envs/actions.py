"""Actions: what they are called, how they are numbered, and which are legal."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from lwmecps_gym.envs.cluster import (
    Bools,
    ClusterParams,
    ClusterState,
    Floats,
    Ints,
    free_resources,
)

AUTO_MOVES = 5_000
"""More moves than this are left out unless they are asked for: place, then remove."""
TOLERANCE = 1e-9
"""Slack in comparing requests with free resources, against rounding of sums."""


class Kind(IntEnum):
    """What an action does."""

    NOTHING = 0
    PLACE = 1
    REMOVE = 2
    MOVE = 3


@dataclass(frozen=True)
class ActionTable:
    """Numbers of the actions for S services and N nodes.

    Action 0 does nothing; then S*N times place(s, n) with s outermost, S*N times remove(s, n), and,
    with moves, S*N*(N-1) times move(s, n -> m) with s outermost, m skipping n.

    Attributes:
        kind, service, source, target: [A]; -1 where an action has no such part.
    """

    services: int
    nodes: int
    moves: bool
    kind: Ints
    service: Ints
    source: Ints
    target: Ints

    @classmethod
    def of(cls, services: int, nodes: int, moves: bool | None = None) -> "ActionTable":
        """Number the actions.

        Args:
            services: S.
            nodes: N.
            moves: whether there are moves; unset: unless they are more than `AUTO_MOVES`.
        """
        if moves is None:
            moves = services * nodes * (nodes - 1) <= AUTO_MOVES
        s, n = (grid.ravel() for grid in np.indices((services, nodes)))
        none = np.full_like(s, -1)
        parts = [
            (np.array([Kind.NOTHING]), np.array([-1]), np.array([-1]), np.array([-1])),
            (np.full_like(s, Kind.PLACE), s, none, n),
            (np.full_like(s, Kind.REMOVE), s, n, none),
        ]
        if moves and nodes > 1:
            ms, src, k = (grid.ravel() for grid in np.indices((services, nodes, nodes - 1)))
            parts.append((np.full_like(ms, Kind.MOVE), ms, src, k + (k >= src)))
        kind, service, source, target = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        return cls(services, nodes, moves and nodes > 1, kind, service, source, target)

    def __len__(self) -> int:
        """Number of actions A."""
        return len(self.kind)

    def place(self, service: Ints | int, node: Ints | int) -> Ints:
        """Numbers of the actions that place a replica of a service on a node."""
        return np.asarray(1 + np.asarray(service) * self.nodes + node)

    def remove(self, service: Ints | int, node: Ints | int) -> Ints:
        """Numbers of the actions that remove a replica of a service from a node."""
        return np.asarray(1 + (self.services + np.asarray(service)) * self.nodes + node)

    def legal(self, params: ClusterParams, replicas: Ints, node_up: Bools) -> Bools:
        """Which actions the model can apply, [B, A].

        Args:
            params: of the B clusters.
            replicas: ready and starting, [B, S, N].
            node_up: [B, N].
        """
        room = fits(params, free_resources(params, replicas, node_up)) & node_up[:, None, :]
        total = replicas.sum(-1)
        place = room & (total < params.max_replicas)[..., None]
        present = replicas > 0
        remove = present & (total > params.min_replicas)[..., None]
        batch = len(replicas)
        parts = [
            np.ones((batch, 1), dtype=bool),
            place.reshape(batch, -1),
            remove.reshape(batch, -1),
        ]
        if self.moves:
            first = 1 + 2 * self.services * self.nodes
            s, src, dst = self.service[first:], self.source[first:], self.target[first:]
            parts.append(present[:, s, src] & room[:, s, dst])
        return np.concatenate(parts, axis=1)

    def legal_in(self, state: ClusterState) -> Bools:
        """Which actions are legal in a state, [B, A]."""
        return self.legal(state.params, state.replicas, state.node_up)

    def describe(self, action: int, services: list[str], nodes: list[str]) -> str:
        """Say an action in words."""
        kind = self.kind[action]
        if kind == Kind.NOTHING:
            return "leave everything as it is"
        name = services[self.service[action]]
        if kind == Kind.PLACE:
            return f"place a replica of {name} on {nodes[self.target[action]]}"
        if kind == Kind.REMOVE:
            return f"remove a replica of {name} from {nodes[self.source[action]]}"
        source, target = nodes[self.source[action]], nodes[self.target[action]]
        return f"move a replica of {name} from {source} to {target}"


def fits(params: ClusterParams, free: Floats) -> Bools:
    """Whether one more replica of each service fits each node, [B, S, N]."""
    return np.asarray(
        (params.request[:, :, None, :] <= free[:, None, :, :] + TOLERANCE).all(-1), dtype=bool
    )


def apply_to(replicas: Ints, table: ActionTable, actions: Ints) -> Ints:
    """Return replicas [B, S, N] after `actions` [B], without any start-up time."""
    after = replicas.copy()
    rows = np.arange(len(replicas))
    service, source, target = table.service[actions], table.source[actions], table.target[actions]
    gone, come = source >= 0, target >= 0
    after[rows[gone], service[gone], source[gone]] -= 1
    after[rows[come], service[come], target[come]] += 1
    return after
