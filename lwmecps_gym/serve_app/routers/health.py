"""Liveness and readiness, for people, load balancers and Kubernetes."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.platform.errors import LwmecpsError
from lwmecps_gym.serve_app.problems import RETRY_AFTER_S, documented
from lwmecps_gym.serve_app.services import ServicesDep

ANSWER_WITHIN_S = 5.0
"""How long a part may take to answer, in seconds."""

router = APIRouter(tags=["health"])
logger = logging.getLogger(__name__)


class Health(BaseModel):
    """The answer of a process that lives."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The answer of a platform that is ready, with every part that was asked."""

    status: Literal["ok"] = "ok"
    parts: dict[str, Literal["ok"]]


@router.get("/healthz")
async def read_liveness() -> Health:
    """Tell that the process is alive."""
    return Health()


@router.get("/readyz", responses=documented(503))
async def read_readiness(services: ServicesDep) -> Readiness:
    """Tell that the store, Ray and the policy server answer; 503 names those that do not.

    Anyone may ask, so why a part does not answer is told by the log alone.
    """
    parts: dict[str, Awaitable[object]] = {
        "store": run_in_threadpool(services.store.ping),
        "policy_server": services.policies.ping(),
    }
    if services.ping_ray is not None:
        parts["ray"] = run_in_threadpool(services.ping_ray)
    found = await asyncio.gather(*(_failure(name, part) for name, part in parts.items()))
    failures = [failure for failure in found if failure is not None]
    if failures:
        raise HTTPException(
            503,
            f"Not ready: {'; '.join(failures)}. The log says why.",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
    return Readiness(parts=dict.fromkeys(parts, "ok"))


async def _failure(name: str, part: Awaitable[object]) -> str | None:
    """Say what is wrong with a part; None if it answers."""
    try:
        await asyncio.wait_for(part, ANSWER_WITHIN_S)
    except TimeoutError:
        return f"{name} did not answer within {ANSWER_WITHIN_S:.0f} s"
    except LwmecpsError as error:
        logger.warning("%s is not ready: %s", name, error)
        return f"{name} is unavailable"
    except Exception:  # whatever Ray raises, the part does not answer
        logger.exception("%s is not ready", name)
        return f"{name} failed"
    return None
