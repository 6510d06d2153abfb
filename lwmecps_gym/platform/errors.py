"""The one tree of errors.

    LwmecpsError
    ├── InvalidInputError       the caller sent something wrong             422
    │   ├── ScenarioError       a scenario or workload file is wrong        422
    │   └── KeyReusedError      an Idempotency-Key was of another request   422
    ├── NotFoundError           no task, model, version or policy by that   404
    ├── ConflictError           the state of a thing does not allow it      409
    ├── IllegalActionError      the cluster cannot apply that action        409
    ├── StoreUnavailableError   the database does not answer                503
    ├── QueueFullError          too many trainings wait                     503
    ├── ClusterError            the Kubernetes API refused or did not answer 502
    └── RemoteError             a platform elsewhere refused or did not answer

Every message says what was wrong, where, and what to do about it. The CLI prints it on one line and
exits with 2; the API answers `application/problem+json` with `status` and `title`.
"""


class LwmecpsError(Exception):
    """Base class: something that the caller can read, and often put right."""

    status: int = 500
    title: str = "Internal error"


class InvalidInputError(LwmecpsError):
    """A value sent by the caller is wrong; the message names the field and the value."""

    status = 422
    title = "Invalid input"


class ScenarioError(InvalidInputError):
    """A scenario or workload file is wrong; the message names file, field and value."""

    title = "Invalid scenario"


class KeyReusedError(InvalidInputError):
    """An `Idempotency-Key` was used for another request before."""

    title = "Idempotency key reused"


class NotFoundError(LwmecpsError):
    """Nothing has the id or name that was asked for."""

    status = 404
    title = "Not found"


class ConflictError(LwmecpsError):
    """Someone else changed the thing first, or its state does not allow the request."""

    status = 409
    title = "Conflict"


class IllegalActionError(LwmecpsError):
    """The action is not legal in this state; nothing was changed."""

    status = 409
    title = "Illegal action"


class StoreUnavailableError(LwmecpsError):
    """The database does not answer; the call can be repeated later."""

    status = 503
    title = "Store unavailable"


class QueueFullError(LwmecpsError):
    """Too many trainings wait; the call can be repeated later."""

    status = 503
    title = "Queue full"


class ClusterError(LwmecpsError):
    """The Kubernetes API refused a call or did not answer."""

    status = 502
    title = "Kubernetes API error"


class RemoteError(LwmecpsError):
    """A platform that a client speaks to refused a call, or did not answer.

    Args:
        message: what was wrong, where, and what to do about it.
        status: of the answer.
        title: of the problem.
    """

    status = 502
    title = "Remote platform error"

    def __init__(self, message: str, *, status: int = 502, title: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.title = title or type(self).title
