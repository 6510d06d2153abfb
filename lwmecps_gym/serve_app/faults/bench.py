"""Rounds of trainings and kills, and the verdict on what is left."""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import LwmecpsError
from lwmecps_gym.platform.models import TaskState
from lwmecps_gym.serve_app.faults.verdict import Verdict, judge
from lwmecps_gym.serve_app.faults.victim import Target, Victim

PATIENCE_S = 300.0
"""How long a request, and the end of all trainings, is waited for, s."""
KILL_WITHIN_S = 8.0
"""A round's kill comes at a random moment within this time, s."""
TRAINING = {
    "name": "faults",
    "model_type": "q_learning",
    "scenario": "tiny",
    "total_episodes": 300,
}
SETTINGS = {
    "LWMECPS_LEASE_S": "3",
    "LWMECPS_BEGIN_LEASE_S": "45",
    "LWMECPS_CHECKPOINT_INTERVAL_S": "0.5",
    "LWMECPS_MAX_ATTEMPTS": "50",
    "LWMECPS_MAX_QUEUED_TRAININGS": "10000",
}
"""Short times, so that a round is; and patience with what is killed over and over."""


def bench_faults(rounds: int, seed: int, tell: Callable[[str], None]) -> Verdict:
    """Start a platform, give it a training in each round, and kill a part of it.

    Args:
        rounds: How many kills.
        seed: Of what is killed, and when.
        tell: Told what is going on.

    Raises:
        LwmecpsError: The platform did not start or did not answer.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="lwmecps-faults-") as name:
        folder = Path(name)
        victim = Victim(folder, SETTINGS)
        accepted: list[str] = []
        try:
            victim.start()
            for number in range(1, rounds + 1):
                accepted.append(_create(victim))
                time.sleep(rng.uniform(0, KILL_WITHIN_S))
                target = rng.choice(list(Target))
                if not victim.kill(target):
                    target = Target.PLATFORM
                    victim.kill(target)
                tell(f"round {number} of {rounds}: killed {target.name.lower()}")
                if target in (Target.SERVER, Target.PLATFORM):
                    victim.start()
            tell("waiting for the trainings")
            _wait_for_all(victim, tell)
        finally:
            victim.stop()
        return judge(Settings(data_dir=folder, mongodb_url=None), accepted, rounds)


def _create(victim: Victim) -> str:
    """Create a training, however often that has to be tried; it is made once."""
    key = uuid4().hex
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = httpx.post(
                f"{victim.url}/api/v1/training",
                json=TRAINING,
                headers={"Idempotency-Key": key},
                trust_env=False,
                timeout=15,
            )
            if answer.status_code == httpx.codes.CREATED:
                return str(answer.json()["id"])
            refusal = answer.text
        except httpx.TransportError as error:
            refusal = str(error)
        if time.monotonic() > deadline:
            raise LwmecpsError(f"no training could be created: {refusal}")
        time.sleep(0.2)


def _wait_for_all(victim: Victim, tell: Callable[[str], None]) -> None:
    """Wait until no training is left that has not ended, or none gets any further."""
    best, deadline = -1, time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(1)
        try:
            answer = httpx.get(f"{victim.url}/api/v1/metrics", trust_env=False, timeout=15)
        except httpx.TransportError:
            continue
        if not answer.is_success:
            continue
        counts = answer.json()["trainings"]
        ended = sum(counts[state] for state in TaskState if state.ended)
        if ended == sum(counts.values()):
            return
        if ended > best:
            best, deadline = ended, time.monotonic() + PATIENCE_S
            tell(f"waiting for the trainings: {ended} of {sum(counts.values())} have ended")
