"""The pytest plugin, in separate runs of pytest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = "pytester"

USES_BOTH = """
    import pytest

    def test_store(almadia_store):
        almadia_store[b"k"] = b"v"
        assert almadia_store[b"k"] == b"v"

    def test_cluster(almadia_cluster):
        leader = almadia_cluster.leader()
        leader[b"k"] = b"v"
        almadia_cluster.isolate(leader)
        assert almadia_cluster.leader()[b"k"] == b"v"

    @pytest.mark.almadia(members=1, options={"cluster.name": "alone"})
    def test_marked(almadia_cluster):
        assert almadia_cluster.numbers == (1,)
        almadia_cluster[1][b"k"] = b"v"

    def test_own_class(almadia_cluster):
        from almadia.testing import Cluster
        assert isinstance(almadia_cluster, Cluster)
        assert len(almadia_cluster.members) == 3
"""


WITH_ASYNCIO = ("-o", "asyncio_default_fixture_loop_scope=function")
WITHOUT_ASYNCIO = ("-p", "no:asyncio")


def run(pytester: pytest.Pytester, *arguments: str, asyncio: tuple[str, str] = WITH_ASYNCIO) -> pytest.RunResult:
    """Runs pytest in a separate process: a compiled module cannot be imported a second time in this one."""
    usual = ("-p", "no:cacheprovider", "-W", "error", "--strict-markers", *asyncio)
    return pytester.runpytest_subprocess(*usual, *arguments)


def data_below(base: Path) -> list[str]:
    return sorted(str(found.relative_to(base).parent) for found in base.glob("*0/almadia_*/*") if found.is_dir())


def test_the_fixtures_need_no_import(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USES_BOTH)

    result = run(pytester)

    result.assert_outcomes(passed=4)


def test_the_fixtures_work_without_the_plugin_for_asyncio(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USES_BOTH)

    result = run(pytester, asyncio=WITHOUT_ASYNCIO)

    result.assert_outcomes(passed=4)


def test_workers_of_xdist_do_not_disturb_each_other(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", range(8))
        def test_cluster(almadia_cluster, n):
            leader = almadia_cluster.leader()
            leader[b"k"] = b"%d" % n
            almadia_cluster.kill(leader)
            assert almadia_cluster.leader()[b"k"] == b"%d" % n
            almadia_cluster.restart(leader.node_id)
            almadia_cluster.wait_applied()
        """
    )

    result = run(pytester, "-n", "2")

    result.assert_outcomes(passed=8)
    assert re.search("2 workers", result.stdout.str())


def test_almadia_is_imported_only_when_a_fixture_is_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_before():
            assert "almadia_pytest" in sys.modules
            assert "almadia" not in sys.modules

        def test_use(almadia_store):
            assert "almadia" in sys.modules
        """
    )

    result = run(pytester)

    result.assert_outcomes(passed=2)


def test_a_failing_report_says_how_the_members_were(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_cluster(almadia_cluster):
            leader = almadia_cluster.leader()
            almadia_cluster.kill(leader)
            assert almadia_cluster.leader() is leader
        """
    )

    result = run(pytester, f"--basetemp={pytester.path / 'data'}")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*- almadia members -*"])
    shown = result.stdout.str()
    assert len(re.findall(r"^member \d: down$", shown, re.MULTILINE)) == 1
    assert len(re.findall(r"^member \d: leader, leader \d, term \d+, applied \d+, committed", shown, re.MULTILINE)) == 1
    assert len(re.findall(r"^member \d: follower, leader \d, term ", shown, re.MULTILINE)) == 1
    assert re.search(r"^data: .*almadia_cluster$", shown, re.MULTILINE)
    assert data_below(pytester.path / "data") == ["test_cluster0/almadia_cluster"] * 3


def test_a_cluster_that_cannot_start_says_why(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.almadia(options={"raft.tick": 10})
        def test_option(almadia_cluster):
            pass

        @pytest.mark.almadia(5)
        def test_marker(almadia_cluster):
            pass
        """
    )

    result = run(pytester)

    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            "*InvalidConfigError: *there is no option 'raft.tick'; did you mean raft.tick_ms?*",
            "*@pytest.mark.almadia takes keyword arguments only*",
        ]
    )


def test_what_a_passed_test_left_open_is_an_error_at_its_end(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        kept = []

        def test_forgets(almadia_cluster):
            kept.append(almadia_cluster.leader().snapshot())

        def test_forgets_store(almadia_store):
            kept.append(almadia_store.snapshot())

        def test_fails_and_forgets(almadia_store):
            snapshot = almadia_store.snapshot()
            assert False

        def test_closes(almadia_store):
            with almadia_store.snapshot():
                pass
        """
    )

    result = run(pytester)

    result.assert_outcomes(passed=3, failed=1, errors=2)
    lines = ["the test left something open:", "member [123]: 1 snapshots or iterators are not closed"]
    result.stdout.re_match_lines([*lines, *lines])


def test_data_is_removed_unless_the_test_failed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USES_BOTH + "\n    def test_fails(almadia_store):\n        assert False\n")
    base = pytester.path / "data"

    result = run(pytester, f"--basetemp={base}")

    result.assert_outcomes(passed=4, failed=1)
    assert data_below(base) == ["test_fails0/almadia_store"]


def test_data_is_kept_when_asked(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(almadia_cluster): almadia_cluster[1][b'k'] = b'v'")
    base = pytester.path / "data"

    result = run(pytester, f"--basetemp={base}", "--almadia-keep-data")

    result.assert_outcomes(passed=1)
    assert data_below(base) == ["test_it0/almadia_cluster"] * 3


def test_coroutines_find_a_fixture_whatever_runs_them(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        async def use(cluster):
            leader = await cluster.leader()
            await leader.put(b"k", b"v")
            cluster.isolate(leader)
            assert await (await cluster.leader()).get(b"k") == b"v"

        def test_by_hand(almadia_aio_cluster):
            asyncio.run(use(almadia_aio_cluster))

        @pytest.mark.skipif("not config.pluginmanager.hasplugin('asyncio')")
        @pytest.mark.asyncio
        async def test_by_plugin(almadia_aio_cluster):
            await use(almadia_aio_cluster)
        """
    )
    with_asyncio = run(pytester)
    pytester.makeini("[pytest]\nmarkers = asyncio: as of the plugin that is not here")
    without_asyncio = run(pytester, asyncio=WITHOUT_ASYNCIO)

    with_asyncio.assert_outcomes(passed=2)
    without_asyncio.assert_outcomes(passed=1, skipped=1)


def test_the_log_of_the_members_is_in_the_report(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_fails(almadia_cluster):
            assert False
        """
    )
    told = run(pytester, "--almadia-log-level", "debug").stdout.str()
    quiet = run(pytester, "--almadia-log-level", "error").stdout.str()

    assert re.search(r"^(DEBUG|INFO) +almadia\.", told, re.MULTILINE)
    assert not re.search(r"^(DEBUG|INFO|WARNING) +almadia\.", quiet, re.MULTILINE)


def test_the_options_and_fixtures_are_explained(pytester: pytest.Pytester) -> None:
    helped = run(pytester, "--help")
    markers = run(pytester, "--markers")
    fixtures = run(pytester, "--fixtures")

    helped.stdout.fnmatch_lines(["almadia:", "*--almadia-keep-data*", "*--almadia-log-level=LEVEL*"])
    markers.stdout.fnmatch_lines(["@pytest.mark.almadia(members=3, options={}): *"])
    fixtures.stdout.fnmatch_lines(["*almadia_store*", "*An open store*", "*almadia_cluster*", "*Three members*"])


def test_the_guide_tells_the_truth(pytester: pytest.Pytester) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "python.md").read_text()
    block = guide.split("## Testing your program")[1].split("```python\n")[1].split("```")[0]
    pytester.makepyfile(f"import almadia\nimport pytest\n\n{block}")

    result = run(pytester)

    result.assert_outcomes(passed=2)


def test_a_misspelt_argument_of_the_marker_is_named(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.almadia(member=5)
        def test_cluster(almadia_cluster):
            pass
        """
    )

    result = run(pytester)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*@pytest.mark.almadia has no argument 'member': almadia(members=3, options={})*"])
