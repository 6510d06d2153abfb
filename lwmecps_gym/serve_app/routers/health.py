"""Liveness and readiness, for people, load balancers and Kubernetes."""

import asyncio
from typing import Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.serve_app.problems import RETRY_AFTER_S
from lwmecps_gym.serve_app.services import ServicesDep

POLICY_SERVER_TIMEOUT_S = 5.0

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The answer of a healthy part."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def read_liveness() -> Health:
    """Tell that the process is alive."""
    return Health()


@router.get("/readyz")
async def read_readiness(services: ServicesDep) -> Health:
    """Tell that the store answers and the policy server is up; 503 until then."""
    await run_in_threadpool(services.store.ping)
    try:
        await asyncio.wait_for(services.policies.total_requests(), POLICY_SERVER_TIMEOUT_S)
    except TimeoutError:
        raise HTTPException(
            503,
            f"The policy server did not answer within {POLICY_SERVER_TIMEOUT_S:.0f} s; try again.",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        ) from None
    return Health()
