"""Speed of `predict` through Ray Serve, beside the same API and model under plain uvicorn."""

import base64
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from rich.table import Table

from lwmecps_gym.algorithms.networks import NetworkConfig, ScoreNetwork, flat_size
from lwmecps_gym.envs import make_vector_env
from lwmecps_gym.envs.encoding import make_encoding
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.config import Settings, read_settings
from lwmecps_gym.platform.database import open_store
from lwmecps_gym.platform.errors import LwmecpsError
from lwmecps_gym.serve_app.bench.canned import answering
from lwmecps_gym.serve_app.bench.load import Measured, Plan
from lwmecps_gym.serve_app.server import free_port, running

CONCURRENCY = (1, 16)
BATCHES = (1, 64)
WARM_UP_S = 0.5
MODEL = "bench"
_START_S = 60.0


def bench_serving(
    runs: int,
    seconds: float,
    say: Callable[[str], None],
    scenario: str = "four-stations",
    plain_states: bool = False,
) -> dict[str, Any]:
    """Measure requests/s and latency of `predict`.

    Both servers run the same application with the same model, a fresh network of the size that PPO
    trains, and take turns. The load comes from a process of its own; how much that could send is
    measured against a server whose answers are made before.

    Args:
        runs: how many runs of each cell; the medians count.
        seconds: length of a run.
        say: is told what is being done.
        scenario: what the model plays.
        plain_states: send states in plain terms instead of encoded observations.
    """
    found: dict[tuple[str, int, int], list[Measured]] = {}
    with TemporaryDirectory(prefix="lwmecps-bench-") as folder, ExitStack() as stack:
        given = {"data_dir": Path(folder), "auth": "off", "wandb_mode": "disabled"}
        settings = read_settings(**given)
        say("starting both servers ...")
        bodies = _deploy(settings, scenario, plain_states)
        urls = {
            "uvicorn": stack.enter_context(_uvicorn(settings)),
            "serve": stack.enter_context(running(settings)),
        }
        for run in range(runs):
            for batch in BATCHES:
                for concurrency in CONCURRENCY:
                    for server, url in urls.items():
                        say(f"run {run + 1} of {runs}: {server}, {concurrency} x {batch} ...")
                        cell = server, concurrency, batch
                        plan = _plan(url, bodies[batch], concurrency, seconds)
                        found.setdefault(cell, []).append(_load(plan))
        say("measuring the load generator ...")
        generator = [_generator(concurrency, seconds) for concurrency in CONCURRENCY]
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}, ray {version('ray')}, uvicorn {version('uvicorn')}; load "
        f"{os.getloadavg()[0]:.1f}",
        "body": "states" if plain_states else "observations",
        "generator": generator,
        "rows": [_row(found, *cell) for cell in found],
    }


def serving_table(result: dict[str, Any]) -> Table:
    """Show the result of `bench_serving`."""
    could = ", ".join(f"{row['concurrency']}: {row['rps']:,.0f}" for row in result["generator"])
    table = Table(
        "server", "concurrency", "batch", "requests/s", "p50 ms", "p99 ms", "of uvicorn",
        caption=f"{result['machine']}; requests/s that the generator can send: {could}",
    )  # fmt: skip
    for row in result["rows"]:
        table.add_row(
            row["server"],
            str(row["concurrency"]),
            str(row["batch"]),
            f"{row['rps']:,.0f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['ratio_to_uvicorn']:.2f}",
        )
    return table


def _row(
    found: dict[tuple[str, int, int], list[Measured]], server: str, concurrency: int, batch: int
) -> dict[str, Any]:
    def middle(name: str, of: str = server) -> float:
        return median(getattr(each, name) for each in found[of, concurrency, batch])

    return {
        "server": server,
        "concurrency": concurrency,
        "batch": batch,
        "rps": middle("rps"),
        "p50_ms": middle("p50_ms"),
        "p99_ms": middle("p99_ms"),
        "ratio_to_uvicorn": middle("rps") / middle("rps", "uvicorn"),
    }


def _deploy(settings: Settings, scenario: str, plain_states: bool) -> dict[int, bytes]:
    """Store and deploy a fresh model; gives the body of a request by the size of its batch."""
    place = load_scenario(scenario)
    encoding = make_encoding("lwmecps-v2", place)
    config = NetworkConfig(
        inputs=flat_size(encoding.observation_space), outputs=int(encoding.action_space.n)
    )
    tensors = {name: v.numpy() for name, v in ScoreNetwork(config).state_dict().items()}
    digest = ArtifactStore(settings.data_dir / "artifacts").put(
        tensors,
        {
            "name": MODEL,
            "env": {"id": "lwmecps-v2", "options": {}},
            "scenario": place.document(),
            "network": config.model_dump(mode="json"),
        },
    )
    store = open_store(settings)
    store.add_version(MODEL, model_type="ppo", task_id=None, digest=digest, metrics={})
    store.deploy(MODEL, by="bench")
    store.close()
    most = max(BATCHES)
    clusters = make_vector_env("lwmecps-v2", most, scenario=place, random_start=True)
    observation, _ = clusters.reset(seed=0)
    clusters.close()
    if plain_states:
        rng = np.random.default_rng(0)
        asked: list[Any] = [
            {
                "placement": {s.name: {place.nodes[0].name: 1} for s in place.services},
                "demand_rps": {
                    s.name: {u.name: round(float(rng.uniform(0, 40)), 2) for u in place.sites}
                    for s in place.services
                },
            }
            for _ in range(most)
        ]
    else:
        asked = [
            {name: values[i].tolist() for name, values in observation.items()} for i in range(most)
        ]
    kind = "state" if plain_states else "observation"
    return {
        batch: json.dumps({kind: asked[0]} if batch == 1 else {f"{kind}s": asked[:batch]}).encode()
        for batch in BATCHES
    }


def _plan(url: str, body: bytes, concurrency: int, seconds: float) -> Plan:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    head = (
        f"POST /api/v1/models/{MODEL}/predict HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = base64.b64encode(head.encode() + body).decode()
    return Plan(parts.hostname, parts.port, request, concurrency, WARM_UP_S, seconds)


def _load(plan: Plan) -> Measured:
    done = subprocess.run(
        [sys.executable, "-m", "lwmecps_gym.serve_app.bench.load"],
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LwmecpsError(f"the load generator failed: {done.stderr.strip().splitlines()[-1]}")
    return Measured(**json.loads(done.stdout))


def _generator(concurrency: int, seconds: float) -> dict[str, float]:
    with answering() as port:
        measured = _load(_plan(f"http://127.0.0.1:{port}", b"{}", concurrency, seconds))
    return {"concurrency": concurrency, "rps": measured.rps}


@contextmanager
def _uvicorn(settings: Settings) -> Iterator[str]:
    """Run the application under plain uvicorn in a process; gives its URL."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = {
        **os.environ,
        "LWMECPS_DATA_DIR": str(settings.data_dir),
        "LWMECPS_AUTH": "off",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "lwmecps_gym.serve_app.bench.plain", str(port)], env=environment
    )
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise LwmecpsError(f"uvicorn did not start within {_START_S:.0f} s; see above")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False
