"""What recipes raise besides the errors of the store. All say that nothing was applied."""

from __future__ import annotations

from typing import Any

from almadia.errors import ConflictError, PreconditionFailedError

__all__ = ["ClaimLostError", "NameTakenError", "NotOwnerError"]


class _Kept:
    """Takes its attributes along to another process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (*super().__reduce__(), self.__dict__)


class ClaimLostError(_Kept, ConflictError):
    """The task is not claimed by this taker any more: its time had passed and another took it, or it was given back.

    After an unknown outcome it may also have been this taker's own first attempt that ended the claim.
    """

    completed: bool = False
    """Whether the task is completed: by whoever took it over or, after an unknown outcome, by this taker."""

    @classmethod
    def _about(cls, task: bytes, completed: bool) -> ClaimLostError:
        state = "it is completed" if completed else "it waits, or another has it"
        error = cls(f"the claim of task {task.hex()} is lost: {state}")
        error.completed = completed
        return error


class NameTakenError(_Kept, PreconditionFailedError):
    """Another owner has the name."""

    owner: bytes = b""
    """Who has it."""

    @classmethod
    def _about(cls, name: bytes, owner: bytes) -> NameTakenError:
        error = cls(f"the name {name!r} is reserved for {owner!r}")
        error.owner = owner
        return error


class NotOwnerError(_Kept, PreconditionFailedError):
    """The name is not reserved for this owner."""

    owner: bytes | None = None
    """Who has it; None if it is free."""

    @classmethod
    def _about(cls, name: bytes, owner: bytes | None) -> NotOwnerError:
        error = cls(f"the name {name!r} is " + ("free" if owner is None else f"reserved for {owner!r}"))
        error.owner = owner
        return error
