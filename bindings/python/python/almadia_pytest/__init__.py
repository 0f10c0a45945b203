"""The pytest plugin of almadia: clusters as fixtures.

* `almadia_store` - an open store, the only member of its cluster.
* `almadia_cluster` - three members in this process, over a network that the test can break: see
  `almadia.testing.Cluster`.
* `almadia_aio_cluster` - the same with stores of `almadia.aio`, for tests that are coroutines, under any plugin that
  runs them: see `almadia.testing.AioCluster`.

    def test_failover(almadia_cluster):
        leader = almadia_cluster.leader()
        leader[b"k"] = b"v"
        almadia_cluster.isolate(leader)
        assert almadia_cluster.leader()[b"k"] == b"v"

`@pytest.mark.almadia(members=5, options={"bootstrap.split_keys": "m"})` sets the number of members of a test, and their
options. Directories are below `tmp_path`; those of passed tests are removed. A test that passed but left a snapshot
open or a call unanswered has an error at teardown. Failure reports have the status of each member.

This package contains only the plugin, and imports almadia only when a fixture is used: pytest imports it in every
environment in which almadia is installed.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from almadia.store import Store
    from almadia.testing import AioCluster, Cluster

_MARKER = "almadia(members=3, options={}): the number of members that the almadia fixtures start, and their options."
_LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")
_TRACE = 5

_clusters = pytest.StashKey[list["Cluster | AioCluster"]]()
"""The clusters that a test uses."""

_failed = pytest.StashKey[bool]()
"""Whether the test or its fixtures failed."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of the plugin."""
    group = parser.getgroup("almadia")
    group.addoption(
        "--almadia-keep-data",
        action="store_true",
        help="keep the directories of the almadia fixtures; those of failed tests are always kept",
    )
    group.addoption(
        "--almadia-log-level",
        type=str.upper,
        choices=_LEVELS,
        metavar="LEVEL",
        help=f"log level of the members of the almadia fixtures: {', '.join(_LEVELS).lower()}",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the status of each member to the report of a failure."""
    report = yield
    clusters = item.stash.get(_clusters, [])
    if report.failed:
        item.stash[_failed] = True
        # At teardown the members are already closed.
        for cluster in clusters if report.when != "teardown" else []:
            report.sections.append(("almadia members", f"{cluster.describe()}\ndata: {cluster.directory}"))
    return report


@pytest.fixture
def almadia_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An open store, the only member of its cluster. Closed at the end of the test."""
    from almadia.testing import Cluster

    with _log_level(request):
        cluster = Cluster(tmp_path / "almadia_store", **_arguments(request, members=1))
        with _registered(request, cluster, cluster.close):
            yield cluster[1]


@pytest.fixture
def almadia_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Three members of a cluster that has a leader: see `almadia.testing.Cluster`. Closed at the end of the test."""
    from almadia.testing import Cluster

    with _log_level(request):
        cluster = Cluster(tmp_path / "almadia_cluster", **_arguments(request, members=3))
        with _registered(request, cluster, cluster.close):
            yield cluster


@pytest.fixture
def almadia_aio_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AioCluster]:
    """Three members with stores of `almadia.aio`: see `almadia.testing.AioCluster`. Closed at the end of the test."""
    from almadia.testing import AioCluster

    # Not a coroutine itself, so that it works with every plugin that runs coroutines, and without one.
    with _log_level(request):
        cluster = AioCluster(tmp_path / "almadia_aio_cluster", **_arguments(request, members=3))
        cluster.start()
        with _registered(request, cluster, cluster.stop):
            yield cluster


def _arguments(request: pytest.FixtureRequest, members: int) -> dict[str, Any]:
    """The arguments of a cluster, from the test's marker."""
    marker = request.node.get_closest_marker("almadia")
    if marker is None:
        return {"members": members}
    if marker.args:
        raise pytest.UsageError(f"@pytest.mark.almadia takes keyword arguments only: {_MARKER}")
    for name in marker.kwargs:
        if name not in ("members", "options"):
            raise pytest.UsageError(f"@pytest.mark.almadia has no argument {name!r}: {_MARKER}")
    return {"members": members, **marker.kwargs}


@contextmanager
def _registered(
    request: pytest.FixtureRequest, cluster: Cluster | AioCluster, stop: Callable[[], None]
) -> Iterator[None]:
    """Registers a cluster with its test: adds to the reports, checks for leaks, stops it and removes its data."""
    stash = request.node.stash
    stash.setdefault(_clusters, []).append(cluster)
    try:
        yield
        # The traceback of a failed test keeps its objects alive; what it left open is not its fault.
        failed = stash.get(_failed, False)
        leaks = [] if failed else cluster.leaks()
    finally:
        stop()
    if leaks:
        pytest.fail("the test left something open:\n" + "\n".join(leaks), pytrace=False)
    if not (failed or request.config.getoption("--almadia-keep-data")):
        shutil.rmtree(cluster.directory)


@contextmanager
def _log_level(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sets the level of the logger "almadia", which decides which records are captured when a store is opened."""
    name = request.config.getoption("--almadia-log-level")
    logger = logging.getLogger("almadia")
    before = logger.level
    if name is not None:
        logger.setLevel(_TRACE if name == "TRACE" else name)
    try:
        yield
    finally:
        logger.setLevel(before)
