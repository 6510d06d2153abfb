"""What is asked of the API and what became of it, as data: both kinds of client only carry it."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from lwmecps_gym.envs.workload_config import describe_errors
from lwmecps_gym.platform.errors import InvalidInputError, LwmecpsError, RemoteError
from lwmecps_gym.serve_app.problems import MEDIA_TYPE, Problem, problem_type

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

LONGEST_WAIT_S = 30.0
"""No `Retry-After` is waited for longer than that, s."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request to the API, and how its answer is read.

    Attributes:
        method: of HTTP.
        path: below the API's URL.
        read: makes the result of a successful answer.
        params: of the query; those that are None are left out.
        body: is sent as JSON.
        content: is sent as it is, of the type that `headers` say.
        headers: more of them.
        repeatable: sent twice it does no more than sent once.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True


def api(*parts: str | int) -> str:
    """Path of a resource; its parts may hold any character."""
    return "/".join(["/api/v1", *(quote(str(part), safe="") for part in parts)])


def checked(model: type[M], fields: Mapping[str, Any]) -> M:
    """What is sent, refused here already where it can be no right request.

    Raises:
        InvalidInputError: a field is wrong; the message names it.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise InvalidInputError(describe_errors(error)) from error


def as_model(model: type[M]) -> Callable[[httpx.Response], M]:
    """Reads an answer as what the API says it is."""
    return lambda response: model.model_validate_json(response.content)


def as_nothing(response: httpx.Response) -> None:
    """Reads an answer that has no body."""


def exchange(
    call: Call[T], attempts: int
) -> Generator[float, httpx.Response | httpx.TransportError, T]:
    """Say when to send a call, and make of the answers its result.

    A call that is refused for the time being (429, 503) or that found no one is sent again after a
    while, unless it might then be done twice.

    Args:
        call: what is sent.
        attempts: how often at most.

    Yields:
        s to wait before the call is sent.

    Returns:
        The result.

    Raises:
        LwmecpsError: as the platform itself raises it, or a `RemoteError`.
    """
    wait_s = 0.0
    for attempt in range(1, attempts + 1):
        answer = yield wait_s
        last = attempt == attempts
        wait_s = min(0.25 * 2**attempt, LONGEST_WAIT_S)
        if isinstance(answer, httpx.TransportError):
            never_sent = isinstance(answer, httpx.ConnectError | httpx.ConnectTimeout)
            if last or not (call.repeatable or never_sent):
                raise unreachable(call, answer) from answer
        elif answer.is_success:
            return _result(call, answer)
        elif last or not _refused_for_now(call, answer):
            raise error_of(answer)
        else:
            wait_s = min(_retry_after_s(answer, wait_s), LONGEST_WAIT_S)
    raise AssertionError("the last attempt returns or raises")


def error_of(response: httpx.Response) -> LwmecpsError:
    """What a problem document says, as the error that made it."""
    try:
        if response.headers.get("content-type", "").startswith(MEDIA_TYPE):
            problem = Problem.model_validate_json(response.content)
            known = _KNOWN.get(problem.type)
            if known is not None:
                return known(problem.detail)
            return RemoteError(problem.detail, status=problem.status, title=problem.title)
    except ValidationError:
        pass  # what follows says what came instead
    text = " ".join(response.text.split())[:200]
    return RemoteError(
        f"{response.request.url}: the answer is {response.status_code} "
        f"{response.reason_phrase}: {text or 'no text'}; is it lwmecps-gym that listens there?",
        status=response.status_code,
    )


def _result(call: Call[T], answer: httpx.Response) -> T:
    try:
        return call.read(answer)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RemoteError(
            f"{answer.request.url}: the answer is not what this version of the client knows: "
            f"{where}: {first['msg']}; are client and platform of the same version?"
        ) from error


def unreachable(call: Call[Any], error: httpx.TransportError) -> RemoteError:
    """What a failure to reach the platform comes to."""
    url = error.request.url
    reason = " ".join(str(error).split()) or type(error).__name__
    return RemoteError(
        f"{url.scheme}://{url.netloc.decode()} does not answer {call.method} {url.path}: {reason}; "
        "is the platform running there (`lwmecps serve`)?"
    )


def _refused_for_now(call: Call[Any], answer: httpx.Response) -> bool:
    return answer.status_code == 429 or (answer.status_code == 503 and call.repeatable)


def _retry_after_s(answer: httpx.Response, otherwise: float) -> float:
    given = answer.headers.get("retry-after", "")
    return float(given) if given.isdecimal() else otherwise


def _tree(error: type[LwmecpsError]) -> list[type[LwmecpsError]]:
    return [error, *(below for child in error.__subclasses__() for below in _tree(child))]


_KNOWN = {problem_type(error.title): error for error in _tree(LwmecpsError) if error != RemoteError}
"""Errors of the platform by the `type` of their problem."""
