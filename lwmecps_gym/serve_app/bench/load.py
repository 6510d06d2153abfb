"""A load generator: keeps connections busy with one request, in a process of its own.

    python -m lwmecps_gym.serve_app.bench.load < plan.json

The plan has the fields of `Plan`; one line of JSON with those of `Measured` comes back. Requests
are bytes made once, and of an answer only the status and the length are read, so that a connection
costs little beside the server.
"""

import asyncio
import base64
import json
import sys
import time
from dataclasses import asdict, dataclass

import uvloop


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        host, port: of the server.
        request: the bytes of one HTTP request, base64.
        concurrency: connections, each with one request at a time.
        warm_up_s: time before what counts [s].
        duration_s: time that counts [s].
    """

    host: str
    port: int
    request: str
    concurrency: int
    warm_up_s: float
    duration_s: float


@dataclass(frozen=True)
class Measured:
    """What was measured: answers per second, and the time from request to answer [ms]."""

    rps: float
    p50_ms: float
    p99_ms: float


async def measure(plan: Plan) -> Measured:
    """Load a server.

    Raises:
        RuntimeError: it answered with another status than 200.
    """
    request = base64.b64decode(plan.request)
    begin = time.perf_counter() + plan.warm_up_s
    end = begin + plan.duration_s
    connections = (_keep_busy(plan, request, begin, end) for _ in range(plan.concurrency))
    spent = sorted(sum(await asyncio.gather(*connections), []))
    if not spent:
        raise RuntimeError(f"no answer within {plan.duration_s} s")
    return Measured(
        rps=len(spent) / plan.duration_s,
        p50_ms=1000 * spent[len(spent) // 2],
        p99_ms=1000 * spent[int(len(spent) * 0.99)],
    )


async def _keep_busy(plan: Plan, request: bytes, begin: float, end: float) -> list[float]:
    reader, writer = await asyncio.open_connection(plan.host, plan.port)
    spent = []
    try:
        while (sent := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the server answers {head.splitlines()[0]!r}")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            done = time.perf_counter()
            if begin <= sent and done <= end:
                spent.append(done - sent)
    finally:
        writer.close()
        await writer.wait_closed()
    return spent


if __name__ == "__main__":
    plan = Plan(**json.load(sys.stdin))
    json.dump(asdict(uvloop.run(measure(plan))), sys.stdout)
