"""Single requests through queues, simulated one by one: what the model's formulas are held against.

SimPy plays the queues; nothing is taken from the package. Times are in mean service times.

At 95 % utilisation a queue remembers thousands of requests, so that a plain mean over 50,000 is off
by ten per cent. Most of that is known to be chance: the draws that a run happened to get, which
matter the more the longer the queue was when they were drawn. `Requests.mean` takes it out.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import simpy
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BATCHES = 200


@dataclass(frozen=True)
class Requests:
    """Requests in the order in which they came to their queue.

    Attributes:
        sojourn: waiting and service, [R].
        chance: columns that come to 0 in the long run, whatever the queues do, [R, K]: see
            `_chance`.
    """

    sojourn: Floats
    chance: Floats

    def mean(self, outcome: Floats) -> Floats:
        """Mean of outcomes [R, M] in the long run, [M], as far as this run can tell.

        Control variates: how much `chance` explains of an outcome is learned from batches of
        requests, and taken off (Henderson and Glynn: Approximating martingales for variance
        reduction in Markov process simulation, Mathematics of Operations Research 27, 2002).
        """
        outcomes, chances = _batch_means(outcome), _batch_means(self.chance)
        known = np.column_stack([np.ones(BATCHES), chances])
        slopes = np.linalg.lstsq(known, outcomes, rcond=None)[0][1:]
        return np.asarray(outcome.mean(0) - self.chance.mean(0) @ slopes)


@lru_cache(maxsize=2)
def simulate(queues: int, servers: int, utilisation: float, seed: int, longer: int = 1) -> Requests:
    """Poisson requests to queues of which each takes one at random; first come, first served.

    Args:
        queues: number of queues.
        servers: of each queue; a service takes an exponential time.
        utilisation: of the servers; the closer to 1, the longer the run.
        seed: of arrivals, choices and services.
        longer: factor on the number of requests, which is 14,000 or more.
    """
    length = longer * round(70 + 0.4 / (1 - utilisation) ** 2)
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / (utilisation * queues * servers), BATCHES * length)
    choice = rng.integers(queues, size=len(gaps))
    work = rng.exponential(1, len(gaps))
    came, begun = _play(queues, servers, gaps, choice, work)
    visits = [(came[own], begun[own], work[own]) for own in map(choice.__eq__, range(queues))]
    depths = [_backlog(*visit) / servers for visit in visits]
    layers = np.quantile(np.concatenate(depths), [0, 0.25, 0.5, 0.75, 1])
    return Requests(
        sojourn=np.concatenate([(begun + work - came)[:-1] for came, begun, work in visits]),
        chance=np.concatenate(
            [
                _chance(
                    depth, layers, (work - 1) / servers, np.diff(came) - 1 / utilisation / servers
                )
                for depth, (came, _, work) in zip(depths, visits, strict=True)
            ]
        ),
    )


def _play(
    queues: int, servers: int, gaps: Floats, choice: Ints, work: Floats
) -> tuple[Floats, Floats]:
    """When each request came, and when its service began."""
    env = simpy.Environment()
    lines = [simpy.Store(env) for _ in range(queues)]
    came, begun = [0.0] * len(gaps), [0.0] * len(gaps)
    service_times = work.tolist()

    def arrive() -> simpy.events.ProcessGenerator:
        for request, (gap, queue) in enumerate(zip(gaps.tolist(), choice.tolist(), strict=True)):
            yield env.timeout(gap)
            came[request] = env.now
            lines[queue].put(request)

    def serve(line: simpy.Store) -> simpy.events.ProcessGenerator:
        while True:
            request = yield line.get()
            begun[request] = env.now
            yield env.timeout(service_times[request])

    env.process(arrive())
    for line in lines:
        for _ in range(servers):
            env.process(serve(line))
    env.run()
    return np.array(came), np.array(begun)


def _backlog(came: Floats, begun: Floats, work: Floats) -> Floats:
    """Work that a queue still has to do when each of its requests comes."""
    done = _elapsed(came, begun) - _elapsed(came, begun + work)
    return np.asarray(np.cumsum(work) - work - done)


def _elapsed(now: Floats, since: Floats) -> Floats:
    """Sum of the times that have passed at each `now` since the moments of `since` before it."""
    since = np.sort(since)
    count = np.searchsorted(since, now)
    return np.asarray(count * now - np.append(0.0, np.cumsum(since))[count])


def _chance(depth: Floats, layers: Floats, service_luck: Floats, gap_luck: Floats) -> Floats:
    """What comes to 0 in the long run of one queue: 15 columns for all requests but the last.

    A draw less its mean is 0 on average whatever was known before, so it is when multiplied by how
    much of the backlog lay in a layer of it. And what the backlog, or a function of it, grows by
    from one request to the next, is 0 on average because it does not grow for ever.

    Args:
        depth: backlog per server when a request comes, [R].
        layers: bounds of the layers of the backlog.
        service_luck: service of a request less its mean, per server, [R].
        gap_luck: time until the next request less its mean, [R - 1].
    """
    below, above = layers[:-1], layers[1:]
    filled = np.clip(depth[:, None] - below, 0, above - below)
    weight = np.column_stack([np.ones(len(depth)), filled])[:-1]
    beyond = np.maximum(depth[:, None] - above, 0)
    growth = np.diff(np.column_stack([depth, filled**2 / 2 + (above - below) * beyond]), axis=0)
    return np.column_stack([weight * service_luck[:-1, None], weight * gap_luck[:, None], growth])


def _batch_means(values: Floats) -> Floats:
    length = len(values) // BATCHES
    return np.asarray(values[: BATCHES * length].reshape(BATCHES, length, -1).mean(1))
