"""The one way in which functions here are compiled, and where their machine code is kept.

Machine code is kept on disk, beside the source or, where that cannot be written, in the user's
cache folder (`NUMBA_CACHE_DIR` names another): only the first process on a machine compiles. Where
no folder can be written, every process compiles for itself.
"""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import FunctionCache

Function = TypeVar("Function", bound=Callable[..., Any])

_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()
_UNCOUNTED: dict[str, Any] = {"_nrt": False}
_log = logging.getLogger(__name__)


class _Cache(FunctionCache):
    """Numba's cache, whose entries hold for the sources of all functions that call each other.

    Numba looks at the file of the function alone: it would go on using the old machine code of a
    function after one that it calls, in another file, has changed.
    """

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*cast(Any, super())._index_key(sig, codegen), _SOURCES)


def compiled(function: Function) -> Function:
    """Compile a function that other compiled functions call; it becomes a part of those.

    Arithmetic is IEEE's, but that a product and a sum may be rounded once instead of twice;
    dividing by zero gives infinity, as in NumPy. Nothing may be allocated: without that, Numba
    counts no references to the arrays, which takes longer than what is done with them.
    """
    return _compile(function, {"contract"})


def summing(function: Function) -> Function:
    """As `compiled`, for one whose sums may be added up in any order, as vectors need it."""
    return _compile(function, {"contract", "reassoc", "nsz"})


def entry(function: Function) -> Function:
    """Compile a function that Python calls, and keep its machine code."""
    return _keep(compiled(function))


def summing_entry(function: Function) -> Function:
    """As `entry`, for one whose sums may be added up in any order."""
    return _keep(summing(function))


def _keep(function: Function) -> Function:
    dispatcher: Any = function
    try:
        dispatcher._cache = cast(Any, _Cache)(dispatcher.py_func)
    except RuntimeError as error:  # no folder can be written
        _log.warning("every process compiles the environments anew (half a minute): %s", error)
    return function


def _compile(function: Function, fastmath: set[str]) -> Function:
    make: Any = numba.njit(
        error_model="numpy",
        fastmath=fastmath,
        nogil=True,
        forceinline=True,
        **_UNCOUNTED,
    )
    return cast(Function, make(function))
