"""The pytest plugin of almadia: clusters as fixtures.

* `almadia_store` - an open store, the only member of its cluster.
* `almadia_cluster` - three members in this process, over a network that the test can break: see
  `almadia.testing.Cluster`.
* `almadia_aio_cluster` - the same with stores of `almadia.aio`, for tests that are coroutines, whatever plugin runs
  them: see `almadia.testing.AioCluster`.

    def test_failover(almadia_cluster):
        leader = almadia_cluster.leader()
        leader[b"k"] = b"v"
        almadia_cluster.isolate(leader)
        assert almadia_cluster.leader()[b"k"] == b"v"

`@pytest.mark.almadia(members=5, options={"bootstrap.split_keys": "m"})` sets how many members a test gets, and their
options. Directories are below `tmp_path`; those of tests that passed are removed. A test that passed but left a
snapshot open or a call unanswered has an error at its end. Reports of failures say how each member was.

This package holds nothing but the plugin, and imports almadia only when a fixture is used: pytest imports it in every
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

_MARKER = "almadia(members=3, options={}): how many members the almadia fixtures of a test start, and their options."
_LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")
_TRACE = 5

_clusters = pytest.StashKey[list["Cluster | AioCluster"]]()
"""The clusters a test uses."""

_failed = pytest.StashKey[bool]()
"""Whether it failed, or its fixtures did."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of the plugin."""
    group = parser.getgroup("almadia")
    group.addoption(
        "--almadia-keep-data",
        action="store_true",
        help="keep the directories of the almadia fixtures; those of tests that failed are always kept",
    )
    group.addoption(
        "--almadia-log-level",
        type=str.upper,
        choices=_LEVELS,
        metavar="LEVEL",
        help=f"what the members of the almadia fixtures log: {', '.join(_LEVELS).lower()}",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Makes the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Says in the report of a failure how each member was."""
    report = yield
    clusters = item.stash.get(_clusters, [])
    if report.failed:
        item.stash[_failed] = True
        # At the end the members are closed already.
        for cluster in clusters if report.when != "teardown" else []:
            report.sections.append(("almadia members", f"{cluster.describe()}\ndata: {cluster.directory}"))
    return report


@pytest.fixture
def almadia_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An open store, the only member of its cluster. Closed at the end of the test."""
    from almadia.testing import Cluster

    with _log_level(request):
        cluster = Cluster(tmp_path / "almadia_store", **_chosen(request, members=1))
        with _tied(request, cluster, cluster.close):
            yield cluster[1]


@pytest.fixture
def almadia_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Three members of a cluster that has a leader: see `almadia.testing.Cluster`. Closed at the end of the test."""
    from almadia.testing import Cluster

    with _log_level(request):
        cluster = Cluster(tmp_path / "almadia_cluster", **_chosen(request, members=3))
        with _tied(request, cluster, cluster.close):
            yield cluster


@pytest.fixture
def almadia_aio_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AioCluster]:
    """Three members with stores of `almadia.aio`: see `almadia.testing.AioCluster`. Closed at the end of the test."""
    from almadia.testing import AioCluster

    # Not a coroutine itself: so it works with every plugin that runs coroutines, and with none.
    with _log_level(request):
        cluster = AioCluster(tmp_path / "almadia_aio_cluster", **_chosen(request, members=3))
        cluster.start()
        with _tied(request, cluster, cluster.stop):
            yield cluster


def _chosen(request: pytest.FixtureRequest, members: int) -> dict[str, Any]:
    """The arguments of a cluster, as the test's marker has them."""
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
def _tied(request: pytest.FixtureRequest, cluster: Cluster | AioCluster, stop: Callable[[], None]) -> Iterator[None]:
    """Ties a cluster to the test that uses it: its reports, what it leaves open, its data, its end."""
    stash = request.node.stash
    stash.setdefault(_clusters, []).append(cluster)
    try:
        yield
        # A failed test holds what it had in its traceback; what it left open is not what is wrong with it.
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
    """Sets the level of the logger "almadia", which decides when a store is opened what is kept at all."""
    name = request.config.getoption("--almadia-log-level")
    logger = logging.getLogger("almadia")
    before = logger.level
    if name is not None:
        logger.setLevel(_TRACE if name == "TRACE" else name)
    try:
        yield
    finally:
        logger.setLevel(before)
