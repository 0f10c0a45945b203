"""Every error of almadia, one class for each code.

All are `AlmadiaError`. Wrong types and values of Python arguments, such as a `str` key or a negative `limit`, raise
plain `TypeError` and `ValueError` instead, before anything is done. How to handle an error follows from three
attributes rather than from its class:

* `outcome` - `Outcome.NOT_APPLIED`: the write was not applied and never will be. `Outcome.UNKNOWN`: it may have been
  applied, or may be at any later time; see `Outcome`.
* `retryable` - the same call can succeed later, or on another member, without any change.
* `category` - `code // 100`: 1 wrong call, 2 normal negative answer, 3 certainly not applied, 4 outcome unknown,
  5 life cycle, 6 environment, 7 data, 9 a bug or a store that stopped after an error.

Where Python has a built-in exception for the same condition, the class derives from it too: a missing key is a
`KeyError`, an expired deadline a `TimeoutError`, an error of the operating system an `OSError`, a wrong argument a
`ValueError`. An `IoError` is a `FileNotFoundError`, `FileExistsError`, `NotADirectoryError` or `IsADirectoryError` if
its `errno` says so. All have `errno`, `strerror` and `filename`, as an `OSError` has them: None where there is none.
"""

from __future__ import annotations

import builtins
import enum
import errno as numbers
import os
from typing import Any, ClassVar

from . import _almadia

__all__ = [
    "AbiMismatchError",
    "AlmadiaError",
    "BatchAcrossRegionsError",
    "BufferTooSmallError",
    "CancelledError",
    "CancelledInFlightError",
    "ClosedError",
    "ConflictError",
    "CorruptionError",
    "DeadlineBeforeStartError",
    "EndError",
    "FailedInFlightError",
    "ForkedError",
    "IncompatibleFormatError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidConfigError",
    "IoError",
    "IoExistsError",
    "IoIsADirectoryError",
    "IoNotADirectoryError",
    "IoNotFoundError",
    "KeyNotFound",
    "LaggingError",
    "LockedError",
    "NetworkError",
    "NoLeaderError",
    "NoSpaceError",
    "NotANumberError",
    "NotLeaderError",
    "NullPointerError",
    "Outcome",
    "OverloadedError",
    "PanicError",
    "PermissionDeniedError",
    "PoisonedError",
    "PreconditionFailedError",
    "ReadTimeoutError",
    "RegionChangedError",
    "Removed",
    "ShutdownInFlightError",
    "ShuttingDownError",
    "SkippedInFlightError",
    "TooLargeError",
    "TransferInProgressError",
    "UnsupportedError",
    "WouldDeadlockError",
    "WriteTimeoutError",
    "WrongClusterError",
]


class Outcome(enum.Enum):
    """What an error says about the write it answers.

    A change of leader leaves no write in doubt: `UNKNOWN` results from a deadline, a cancellation, a store that was
    closed or failed, or a transfer of state: a member that is far behind takes over another one's data instead of the
    log entries that would have told. After `UNKNOWN`, a read that shows the write settles it: it was applied. A read
    that does not show it settles nothing, because the write may take effect at any later time. So repeat it only if
    that is harmless, give each such write a key or a value of its own to distinguish it from others, and read again.
    """

    NOT_APPLIED = "not applied"
    """It was not applied and never will be. Safe to retry."""

    UNKNOWN = "unknown"
    """It may have been applied, or may be at any later time. Only a read that shows it settles it."""


class AlmadiaError(Exception):
    """Any failure of a call.

    `str(error)` says what happened and what to do. `name` is the code's name, the same in every language.
    """

    code: ClassVar[int] = 0
    """The stable number of the error, the same in every language."""

    name: ClassVar[str] = "UNKNOWN"
    """The name of the code."""

    outcome: ClassVar[Outcome] = Outcome.UNKNOWN
    """What the error says about a write."""

    retryable: ClassVar[bool] = False
    """Whether the call was certainly not applied and can succeed later or on another member."""

    leader: int | None
    """The number of the leader, if the error contains it."""

    errno: int | None
    """The operating system's error number, if there is one."""

    strerror: str | None
    """What the operating system calls that error."""

    filename: str | None
    """The file or directory that the error is about, if there is one."""

    def __init__(
        self,
        message: str = "",
        leader: int | None = None,
        errno: int | None = None,
        filename: str | None = None,
        found: tuple[Any, ...] | None = None,
    ) -> None:
        super().__init__(message)
        self.leader = leader
        self.errno = errno
        self.strerror = os.strerror(errno) if errno is not None else None
        self.filename = filename
        self._found = found

    @property
    def category(self) -> int:
        """The kind of the error: `code // 100`."""
        return self.code // 100

    def __str__(self) -> str:
        message = str(self.args[0]) if self.args else ""
        outcome = ", outcome unknown" if self.outcome is Outcome.UNKNOWN else ""
        return f"{message} [{self.name}{outcome}]"

    def __reduce__(self) -> tuple[Any, ...]:
        message = self.args[0] if self.args else ""
        return type(self), (message, self.leader, self.errno, self.filename, self._found)


class _Judged:
    """Internal: what an error says that is about an operation of a batch."""

    _found: tuple[Any, ...] | None

    @property
    def operation(self) -> int | None:
        """The number of the operation in its batch, from 0; conditions count."""
        operation: int | None = None if self._found is None else self._found[0]
        return operation

    @property
    def exists(self) -> bool:
        """Whether its key existed where the write was judged."""
        _, exists, _ = self._found or (None, False, 0)
        return bool(exists)

    @property
    def version(self) -> int:
        """The version that its key had there; 0 if it did not exist."""
        _, _, version = self._found or (None, False, 0)
        return int(version)


class InvalidArgumentError(AlmadiaError, ValueError):
    """An argument is outside its documented range."""


class NullPointerError(AlmadiaError, ValueError):
    """A pointer is NULL. Occurs in C only."""


class InvalidConfigError(AlmadiaError, ValueError):
    """An option is unknown, malformed or contradicts another."""


class AbiMismatchError(AlmadiaError):
    """A program was compiled against another version. Occurs in C only."""


class BufferTooSmallError(AlmadiaError, ValueError):
    """A buffer is smaller than the value. Occurs in C only."""


class WouldDeadlockError(AlmadiaError):
    """A blocking call was made where it could never be answered."""


class UnsupportedError(AlmadiaError):
    """This version does not offer what was asked."""


class TooLargeError(AlmadiaError, ValueError):
    """A key, a value or a batch is larger than its limit."""


class BatchAcrossRegionsError(AlmadiaError, ValueError):
    """A batch has keys of more than one region, but is atomic in one region only."""


class KeyNotFound(AlmadiaError, KeyError):
    """The key does not exist."""


class PreconditionFailedError(_Judged, AlmadiaError):
    """A condition was false, and nothing was applied. `exists` and `version` tell what the key was like instead."""


class ConflictError(AlmadiaError):
    """What a transaction had read was changed by another write before its commit. It was not applied: begin it again.

    `key` or `range` tells what was changed.
    """

    @property
    def key(self) -> bytes | None:
        """The key that was set or removed; None if it is known only that it is one of `range`."""
        return self._found[0] if self._found is not None and len(self._found) == 1 else None

    @property
    def range(self) -> tuple[bytes, bytes | None] | None:
        """Where a key was set, removed or added: start (included) and end (excluded; None is no bound) of a range.

        The transaction had iterated over it. None if it is a single `key`.
        """
        if self._found is None or len(self._found) != 2:
            return None
        start, end = self._found
        return start, end


class EndError(AlmadiaError):
    """An iteration is at its end. Occurs in C only: Python's iterators stop."""


class NotANumberError(_Judged, AlmadiaError, ValueError):
    """A value is not a number of 8 bytes, or a sum does not fit into one. Nothing was applied."""


class NotLeaderError(AlmadiaError):
    """This member is not the leader; `leader` is, if known."""


class NoLeaderError(AlmadiaError):
    """No leader was found before the deadline: is a majority of the members up and reachable?"""


class OverloadedError(AlmadiaError):
    """A local queue is full: wait until some calls are answered."""


class TransferInProgressError(AlmadiaError):
    """Leadership is being transferred: retry when that is done."""


class LaggingError(AlmadiaError):
    """The member that was to become leader is too far behind."""


class DeadlineBeforeStartError(AlmadiaError, builtins.TimeoutError):
    """The deadline passed before the write entered the log. It was not applied."""


class RegionChangedError(AlmadiaError):
    """The region's key range changed meanwhile. The write was not applied."""


class WriteTimeoutError(AlmadiaError, builtins.TimeoutError):
    """The deadline passed while the write was in flight. It may have been applied, or may still be applied."""


class CancelledInFlightError(AlmadiaError):
    """The write was cancelled while it was in flight. It may have been applied, or may still be applied."""


class ShutdownInFlightError(AlmadiaError):
    """The store was closed while the write was in flight. It may have been applied, or may still be applied."""


class FailedInFlightError(AlmadiaError):
    """The store failed while the write was in flight. It may have been applied, or may still be applied."""


class SkippedInFlightError(AlmadiaError):
    """This member was far behind and took over another one's data meanwhile. The write may be applied, or not."""


class ClosedError(AlmadiaError):
    """The store, or the snapshot, is closed."""


class ShuttingDownError(AlmadiaError, builtins.TimeoutError):
    """The store accepts no more calls, but has not ended in time: a disk hangs. Close it again to wait for that."""


class CancelledError(AlmadiaError):
    """The call was cancelled before it had any effect. Not `asyncio.CancelledError`."""


class ForkedError(AlmadiaError):
    """The store belongs to the parent of this process, or the parent had one open when it forked.

    Open stores after the fork, close all before it, or start processes by spawn.
    """


class Removed(AlmadiaError):
    """This member was removed from its cluster. Its number never comes back: add another one under a new number."""


class ReadTimeoutError(AlmadiaError, builtins.TimeoutError):
    """The deadline passed before the read was confirmed."""


class IoError(AlmadiaError, OSError):
    """The operating system reported an error; see `errno`, and `filename` for the file or directory."""


class IoNotFoundError(IoError, builtins.FileNotFoundError):
    """An `IoError` for a file or directory that does not exist."""


class IoExistsError(IoError, builtins.FileExistsError):
    """An `IoError` for a file or directory that exists already."""


class IoNotADirectoryError(IoError, builtins.NotADirectoryError):
    """An `IoError` for a path through something that is not a directory."""


class IoIsADirectoryError(IoError, builtins.IsADirectoryError):
    """An `IoError` for a directory in the place of a file."""


class NoSpaceError(AlmadiaError, OSError):
    """The disk is full."""


class LockedError(AlmadiaError, OSError):
    """Another process or store has the directory open, which is `filename`; the message has its pid."""


class PermissionDeniedError(AlmadiaError, builtins.PermissionError):
    """The operating system refused access; `filename` is the file or directory."""


class NetworkError(AlmadiaError, OSError):
    """The network address cannot be used."""


class CorruptionError(AlmadiaError):
    """Stored data is damaged; the message has file and offset."""


class IncompatibleFormatError(AlmadiaError):
    """The directory was written by a newer version."""


class WrongClusterError(AlmadiaError):
    """The directory belongs to another cluster, member or instance."""


class InternalError(AlmadiaError):
    """A bug in almadia."""


class PanicError(AlmadiaError):
    """A bug in almadia: a panic was caught."""


class PoisonedError(AlmadiaError):
    """The store stopped after an earlier error: close it, look at the cause in the message, and open it again."""


_CLASSES: dict[str, type[AlmadiaError]] = {
    "INVALID_ARGUMENT": InvalidArgumentError,
    "NULL_POINTER": NullPointerError,
    "INVALID_CONFIG": InvalidConfigError,
    "ABI_MISMATCH": AbiMismatchError,
    "BUFFER_TOO_SMALL": BufferTooSmallError,
    "WOULD_DEADLOCK": WouldDeadlockError,
    "UNSUPPORTED": UnsupportedError,
    "TOO_LARGE": TooLargeError,
    "BATCH_ACROSS_REGIONS": BatchAcrossRegionsError,
    "NOT_FOUND": KeyNotFound,
    "PRECONDITION_FAILED": PreconditionFailedError,
    "CONFLICT": ConflictError,
    "END": EndError,
    "NOT_A_NUMBER": NotANumberError,
    "NOT_LEADER": NotLeaderError,
    "NO_LEADER": NoLeaderError,
    "OVERLOADED": OverloadedError,
    "TRANSFER_IN_PROGRESS": TransferInProgressError,
    "LAGGING": LaggingError,
    "DEADLINE_BEFORE_START": DeadlineBeforeStartError,
    "REGION_CHANGED": RegionChangedError,
    "TIMEOUT": WriteTimeoutError,
    "CANCELLED_IN_FLIGHT": CancelledInFlightError,
    "SHUTDOWN_IN_FLIGHT": ShutdownInFlightError,
    "FAILED_IN_FLIGHT": FailedInFlightError,
    "SKIPPED_IN_FLIGHT": SkippedInFlightError,
    "CLOSED": ClosedError,
    "SHUTTING_DOWN": ShuttingDownError,
    "CANCELLED": CancelledError,
    "FORKED": ForkedError,
    "REMOVED": Removed,
    "READ_TIMEOUT": ReadTimeoutError,
    "IO": IoError,
    "NO_SPACE": NoSpaceError,
    "LOCKED": LockedError,
    "PERMISSION": PermissionDeniedError,
    "NETWORK": NetworkError,
    "CORRUPTION": CorruptionError,
    "INCOMPATIBLE_FORMAT": IncompatibleFormatError,
    "WRONG_CLUSTER": WrongClusterError,
    "INTERNAL": InternalError,
    "PANIC": PanicError,
    "POISONED": PoisonedError,
}


def _by_code() -> dict[int, type[AlmadiaError]]:
    """Sets on each class what the library's own table says about its code."""
    classes: dict[int, type[AlmadiaError]] = {}
    for code, name, _, outcome, retryable in _almadia.codes():
        found = _CLASSES.get(name)
        if found is None:
            continue
        found.code = code
        found.name = name
        found.outcome = Outcome(outcome)
        found.retryable = retryable
        classes[code] = found
    return classes


_CLASS_OF_CODE = _by_code()


_IO_CLASS_OF_ERRNO: dict[int, type[IoError]] = {
    numbers.ENOENT: IoNotFoundError,
    numbers.EEXIST: IoExistsError,
    numbers.ENOTDIR: IoNotADirectoryError,
    numbers.EISDIR: IoIsADirectoryError,
}


def from_code(
    code: int,
    message: str,
    leader: int | None = None,
    errno: int | None = None,
    filename: str | None = None,
    found: tuple[Any, ...] | None = None,
) -> AlmadiaError:
    """The exception for an error of the library. Internal: called by the compiled part."""
    made = _CLASS_OF_CODE.get(code, AlmadiaError)
    if made is IoError and errno is not None:
        made = _IO_CLASS_OF_ERRNO.get(errno, IoError)
    return made(message, leader, errno, filename, found)
