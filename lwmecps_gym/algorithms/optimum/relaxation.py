"""A lower bound, and a good placement, where the placements are too many to enumerate.

A mixed-integer program with free routing: replicas y[s, n] fit the nodes, requests flow from sites
to nodes as they like up to `utilisation_cap` of the rate of the replicas there, the rest fails.
Each request pays for its round trip and its service alone: a request never takes less time than
that, as its sojourn is its service plus a wait. So every placement, however its requests are routed
and queued, is a solution that costs no more here than in the model, and the optimum here, or any
dual bound of it, is a lower bound of the cost there. Replicas that are starting serve nobody; to
let all of y serve makes the bound lower, not wrong.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from lwmecps_gym.envs.cluster import Bools, ClusterParams, Floats, Ints
from lwmecps_gym.envs.queueing import sojourn_tail, truncated_sojourn
from lwmecps_gym.envs.scenario import Scenario

NODE_LIMIT = 20
"""Nodes of HiGHS' tree; the bound is nearly all in the first, and a count repeats itself."""


@dataclass(frozen=True)
class Relaxed:
    """A solution: replicas [S, N] (None: none was found), and what no placement is below."""

    placement: Ints | None
    lower_bound: float


class Relaxation:
    """The mixed-integer program of one cluster, for any demand.

    Variables, in this order: replicas y [S, N]; flows [S, U, N] and failures [S, U] as shares of
    all requests; deviations of the nodes' CPU utilisation [N].
    """

    def __init__(self, scenario: Scenario, params: ClusterParams) -> None:
        self.scenario, self.params = scenario, params
        services, nodes = params.request.shape[1], params.capacity.shape[1]
        self.sizes = services, params.rtt_ms.shape[1], nodes
        cpu = params.capacity[0, :, 0]
        weights = scenario.weights
        y_cost = weights.resources * params.request[0, :, 0] / cpu.sum()
        fail = weights.latency * scenario.timeout_ms / scenario.latency_scale_ms + weights.violation
        self.cost = np.concatenate(
            [
                np.repeat(y_cost, nodes),
                self._request_cost().ravel(),
                np.full(services * self.sizes[1], fail),
                np.full(nodes, weights.balance / nodes),
            ]
        )

    def _request_cost(self) -> Floats:
        """What a request costs at least, [S, U, N]."""
        scenario, weights = self.scenario, self.scenario.weights
        mu, rtt = self.params.rate[0][:, None, None], self.params.rtt_ms[0][None]
        limit, slo = scenario.timeout_ms, self.params.slo_ms[0][:, None, None]
        latency = np.minimum(rtt, limit) + 1000 * truncated_sojourn(
            0.0, mu, mu, (limit - rtt) / 1e3
        )
        late = np.where(slo < limit, sojourn_tail(0.0, mu, mu, (slo - rtt) / 1000), 0.0)
        return weights.latency * latency / scenario.latency_scale_ms + weights.violation * late

    def solve(self, demand: Floats, node_up: Bools, minimum: Ints) -> Relaxed:
        """Solve for `demand` [S, U] in requests/s with at least `minimum` replicas [S]."""
        services, sites, nodes = self.sizes
        most = np.where(node_up, self.params.max_replicas[:, None], 0).ravel()
        flows = services * sites * (nodes + 1)
        upper = np.concatenate([most, np.full(flows + nodes, np.inf)])
        integral = np.zeros(len(upper))
        integral[: services * nodes] = 1
        found = milp(
            self.cost,
            integrality=integral,
            bounds=Bounds(0, upper),
            constraints=self._constraints(demand, minimum),
            options={"node_limit": NODE_LIMIT, "mip_rel_gap": 1e-3},
        )
        placement = None
        if found.x is not None:
            placement = np.rint(found.x[: services * nodes]).astype(np.int64)
            placement = placement.reshape(services, nodes)
        return Relaxed(placement, max(0.0, found.mip_dual_bound or 0.0))  # no cost is below 0

    def _constraints(self, demand: Floats, minimum: Ints) -> list[LinearConstraint]:
        services, sites, nodes = self.sizes
        params, eye = self.params, sparse.identity
        request, capacity = params.request[0], params.capacity[0]
        total = max(demand.sum(), 1e-300)
        rest = services * sites * (nodes + 1)

        # What a node holds of each resource; replicas of each service; requests of each site.
        held = sparse.hstack(
            [sparse.kron(request[s][:, None], eye(nodes)) for s in range(services)]
        )
        count = sparse.kron(eye(services), np.ones((1, nodes)))
        sent = sparse.kron(eye(services * sites), np.ones((1, nodes)))
        served = sparse.hstack([sent, eye(services * sites)])
        # Flow into a node, less what its replicas admit.
        into = sparse.kron(eye(services), sparse.kron(np.ones((1, sites)), eye(nodes)))
        admit = sparse.diags_array(
            np.repeat(self.scenario.utilisation_cap * params.rate[0] / total, nodes)
        )
        # Deviation of a node's CPU utilisation from the mean of all nodes.
        cpu = capacity[:, 0]
        centre = np.eye(nodes) - np.full((nodes, nodes), 1 / nodes)
        share = np.hstack([centre * (request[s, 0] / cpu) for s in range(services)])

        def rows(y: Any = None, share: Any = None, deviation: Any = None) -> Any:
            parts = zip((y, share, deviation), (services * nodes, rest, nodes), strict=True)
            height = next(part.shape[0] for part in (y, share, deviation) if part is not None)
            return sparse.hstack(
                [sparse.csc_array((height, n)) if part is None else part for part, n in parts],
                format="csc",
            )

        lost = sparse.csc_array((services * nodes, services * sites))
        into = sparse.hstack([into, lost])
        wanted = (demand / total).ravel()
        return [
            LinearConstraint(rows(held), -np.inf, capacity.T.ravel()),
            LinearConstraint(rows(count), minimum, params.max_replicas),
            LinearConstraint(rows(share=served), wanted, wanted),
            LinearConstraint(rows(-admit, into), -np.inf, 0),
            LinearConstraint(rows(share, deviation=-eye(nodes)), -np.inf, 0),
            LinearConstraint(rows(-share, deviation=-eye(nodes)), -np.inf, 0),
        ]
