"""Who answers, in one cluster: the flows of `routing`, found without asking every node."""

from lwmecps_gym.envs.compiled.jit import compiled
from lwmecps_gym.envs.compiled.memory import Desk, Floats, Flows, Shorts

FEW_HOSTS = 8
"""All hosts are asked, in vectors, if their number squared is below so many times the nodes."""


@compiled
def find_hosts(
    ready: Shorts,
    nearest: Shorts,
    rank: Shorts,
    rtt_ms: Floats,
    hosts: Shorts,
    first: Shorts,
    first_rtt_ms: Floats,
    desk: Desk,
) -> int:
    """List the nodes that host a service, and for each site the nearest one; return their number.

    Args:
        ready: replicas of the service, [N].
        nearest: of the cluster, [U, N].
        rank: of the cluster, [N, U].
        rtt_ms: of the cluster, [N, U].
        hosts: to write, [N].
        first: to write, [U].
        first_rtt_ms: to write, [U].
        desk: `first_rank` is overwritten.
    """
    count = 0
    for n in range(len(ready)):
        if ready[n] > 0:
            hosts[count] = n
            count += 1
    sites = len(first)
    if count * count <= FEW_HOSTS * len(ready):  # ask every host, or go from node to node
        first_rank = desk.first_rank
        first_rank[:] = len(ready)
        for h in range(count):
            n = hosts[h]
            for u in range(sites):
                if rank[n, u] < first_rank[u]:
                    first_rank[u] = rank[n, u]
                    first[u] = n
    else:
        for u in range(sites):
            k = 0
            while ready[nearest[u, k]] == 0:
                k += 1
            first[u] = nearest[u, k]
    if count > 0:
        for u in range(sites):
            first_rtt_ms[u] = rtt_ms[first[u], u]
    return count


@compiled
def send_close(
    share: float,
    requests: Floats,
    first: Shorts,
    first_rtt_ms: Floats,
    flows: Flows,
    desk: Desk,
) -> int:
    """Send all of a service to the nearest hosts; return the number of its flows.

    These are the flows of `prefer_close` if no host is asked for more than it has room for.

    Args:
        share: of the service in the requests of each site.
        requests: of each site, requests/s, [U].
        first: as `find_hosts` left it.
        first_rtt_ms: likewise.
        flows: gets them.
        desk: gets their `load`.
    """
    for u in range(len(requests)):
        rps = share * requests[u]
        n = first[u]
        desk.load[n] += rps
        flows.rps[u] = rps
        flows.node[u] = n
        flows.rtt_ms[u] = first_rtt_ms[u]
    return len(requests)


@compiled
def spill_over(
    share: float,
    requests: Floats,
    hosts: Shorts,
    first: Shorts,
    rank: Shorts,
    rtt_ms: Floats,
    flows: Flows,
    desk: Desk,
) -> tuple[int, float]:
    """Send a service as `prefer_close` does; return how many flows, and what finds no room.

    The k-th round is that of the sites whose k-th nearest node is a host with room left; other
    sites have nothing to ask for in it. A site waits in a list for the round of its next such host.

    Args:
        share: as in `send_close`, and so the next.
        requests: of each site.
        hosts: of the service, and for each site the `first`.
        first: as `find_hosts` left it.
        rank: of the cluster, [N, U].
        rtt_ms: of the cluster, [N, U].
        flows: gets them.
        desk: `space` holds what the hosts admit, `load` is 0 for them.
    """
    nodes = len(rank)
    queue, following, left, target = desk.queue, desk.following, desk.left, desk.target
    queue[:] = -1
    lost = 0.0
    for u in range(len(requests)):
        left[u] = share * requests[u]
        target[u] = first[u]
        k = rank[first[u], u]
        following[u], queue[k] = queue[k], u
    open_hosts = len(hosts)
    for h in range(open_hosts):
        desk.open_hosts[h] = hosts[h]
    waiting = len(requests)
    end = 0
    k = 0
    while waiting > 0 and open_hosts > 0:
        asked_nodes = 0
        u = queue[k]
        while u >= 0:
            n = target[u]
            if desk.asked[n] == 0.0 and left[u] > 0.0:
                desk.asked_nodes[asked_nodes] = n
                asked_nodes += 1
            desk.asked[n] += left[u]
            u = following[u]
        for index in range(asked_nodes):
            n = desk.asked_nodes[index]
            asked, space = desk.asked[n], desk.space[n]
            desk.admitted[n] = min(1.0, space / asked)
            desk.space[n] = space - asked if asked < space else 0.0
            desk.asked[n] = 0.0
            if space > 0.0 and asked >= space:
                h = 0
                while desk.open_hosts[h] != n:
                    h += 1
                open_hosts -= 1
                desk.open_hosts[h] = desk.open_hosts[open_hosts]
        u, queue[k] = queue[k], -1
        while u >= 0:
            after = following[u]
            n = target[u]
            admitted = desk.admitted[n]
            taken = left[u] * admitted
            if taken > 0.0:
                desk.load[n] += taken
                flows.rps[end] = taken
                flows.node[end] = n
                flows.site[end] = u
                end += 1
            waiting -= 1
            if admitted < 1.0 and left[u] > 0.0:
                left[u] -= taken
                later = nodes
                for h in range(open_hosts):  # all of them are behind rank k
                    if rank[desk.open_hosts[h], u] < later:
                        target[u] = desk.open_hosts[h]
                        later = rank[target[u], u]
                if later < nodes:
                    following[u], queue[later] = queue[later], u
                    waiting += 1
                else:
                    lost += left[u]
            u = after
        k += 1
    for i in range(end):  # apart from the lists, so that the processor can look far ahead
        flows.rtt_ms[i] = rtt_ms[flows.node[i], flows.site[i]]
    while waiting > 0:  # for a host that had room when they began to wait
        u = queue[k]
        while u >= 0:
            lost += left[u]
            waiting -= 1
            u = following[u]
        k += 1
    return end, lost
