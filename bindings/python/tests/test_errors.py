"""One class for each code, and what an error reports."""

from __future__ import annotations

import pickle
from typing import Any

import almadia
import pytest
from almadia import _almadia, errors

CODES: list[tuple[int, str, str, str, bool]] = _almadia.codes()
CLASSES: list[type[almadia.AlmadiaError]] = almadia.AlmadiaError.__subclasses__()


def test_every_code_has_exactly_one_class_and_every_class_one_code() -> None:
    of_class = {found.code: found for found in CLASSES}

    assert sorted(of_class) == sorted(row[0] for row in CODES)
    assert len(of_class) == len(CLASSES) == len(CODES)


@pytest.mark.parametrize("row", CODES, ids=lambda row: row[1])
def test_an_error_says_what_the_librarys_table_says(row: tuple[int, str, str, str, bool]) -> None:
    code, name, message, outcome, retryable = row

    error = errors.from_code(code, message, 3, 5)

    assert type(error) in CLASSES
    assert (error.code, error.name, error.category) == (code, name, code // 100)
    assert (error.outcome.value, error.retryable) == (outcome, retryable)
    assert (error.leader, error.errno) == (3, 5)
    assert str(error).startswith(message)
    assert name in str(error)
    assert ("outcome unknown" in str(error)) == (outcome == "unknown")


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: found.__name__)
def test_a_class_is_importable_under_the_name_a_traceback_shows(found: type[almadia.AlmadiaError]) -> None:
    assert found.__module__ == "almadia.errors"
    assert getattr(errors, found.__name__) is found
    assert getattr(almadia, found.__name__) is found
    assert found.__doc__


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: found.__name__)
def test_an_error_crosses_processes(found: type[almadia.AlmadiaError]) -> None:
    error = found("what happened", 2, 28)

    copied = pickle.loads(pickle.dumps(error))

    assert type(copied) is found
    assert (str(copied), copied.leader, copied.errno) == (str(error), 2, 28)


def test_a_code_of_a_later_version_is_still_an_almadia_error() -> None:
    error = errors.from_code(499, "something new")

    assert type(error) is almadia.AlmadiaError
    assert error.outcome is almadia.Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("found", "also"),
    [
        (almadia.KeyNotFound, KeyError),
        (almadia.WriteTimeoutError, TimeoutError),
        (almadia.ReadTimeoutError, TimeoutError),
        (almadia.DeadlineBeforeStartError, TimeoutError),
        (almadia.InvalidConfigError, ValueError),
        (almadia.TooLargeError, ValueError),
        (almadia.IoError, OSError),
        (almadia.LockedError, OSError),
        (almadia.PermissionDeniedError, PermissionError),
    ],
)
def test_an_error_is_also_pythons_own(found: Any, also: Any) -> None:
    assert issubclass(found, also)
    assert issubclass(found, almadia.AlmadiaError)
