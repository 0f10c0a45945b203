"""Processes: exit with calls in flight, forks, multiprocessing, warnings, the log."""

from __future__ import annotations

import errno
import gc
import logging
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import almadia
import pytest

from .conftest import FAST, free_addresses, without_slow_steps


def run(tmp_path: Path, program: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a separate Python process, in `tmp_path`."""
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(program))
    command = [sys.executable, *flags, str(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)


def run_quietly(tmp_path: Path, program: str, *flags: str) -> str:
    """Runs a program that must succeed and write nothing to stderr."""
    done = run(tmp_path, program, *flags)
    assert (done.returncode, without_slow_steps(done.stderr)) == (0, "")
    return done.stdout


def test_a_whole_program_is_clean_with_every_warning_an_error(tmp_path: Path) -> None:
    program = """
        import asyncio, threading
        import almadia, almadia.aio

        with almadia.open("store") as store:
            store[b"k"] = b"v"
            with store.snapshot() as snapshot:
                print(snapshot[b"k"], list(snapshot.items()))

        async def main():
            async with almadia.aio.open("store") as store:
                print(await store.get(b"k"))

        asyncio.run(main())
        print([thread.name for thread in threading.enumerate() if "asyncio" not in thread.name])
    """

    output = run_quietly(tmp_path, program, "-X", "dev", "-W", "error")

    assert output == "b'v' [(b'k', b'v')]\nb'v'\n['MainThread']\n"


@pytest.mark.parametrize("round_", range(5))
def test_the_interpreter_ends_with_calls_under_way(tmp_path: Path, round_: int) -> None:
    program = """
        import threading
        import almadia

        store = almadia.open("store")
        started = threading.Barrier(9)

        def work():
            started.wait()
            while True:
                try:
                    store.put(b"k", b"v")
                    store.get(b"k")
                    with store.snapshot() as snapshot:
                        list(snapshot.items())
                except almadia.AlmadiaError:
                    pass

        for _ in range(8):
            threading.Thread(target=work, daemon=True).start()
        started.wait()
        for _ in range(20):
            store.put(b"x", b"y")
        print("done")
    """

    assert run_quietly(tmp_path, program) == "done\n"


def test_the_interpreter_ends_with_calls_that_wait_for_ever(tmp_path: Path) -> None:
    program = f"""
        import sys, threading
        import almadia

        store = almadia.open("store", initial_members={free_addresses(3)!r})

        def work():
            try:
                store.put(b"k", b"v", timeout=3600)
            except almadia.AlmadiaError as error:
                sys.stdout.write(error.name + "\\n")

        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        while store.status().in_flight < 4:
            pass
    """

    output = run_quietly(tmp_path, program)

    # A thread may also end with the interpreter before it has printed anything.
    assert set(output.split()) <= {"CLOSED", "SHUTDOWN_IN_FLIGHT"}


def test_the_interpreter_ends_with_a_loop_and_a_view_left_open(tmp_path: Path) -> None:
    program = f"""
        import asyncio
        import almadia, almadia.aio

        alone = {free_addresses(3)!r}

        async def main():
            global store, view, walk, tasks
            store = await almadia.aio.open("alone", initial_members=alone)
            tasks = [asyncio.create_task(store.put(b"k", b"v", timeout=3600)) for _ in range(50)]
            await asyncio.sleep(0)
            other = await almadia.aio.open("store")
            await other.put(b"k", bytes(100000))
            snapshot = await other.snapshot()
            view = await snapshot.get_view(b"k")
            walk = snapshot.items()
            await anext(walk)

        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        print(len(view))
    """
    done = run(tmp_path, program)

    assert (done.returncode, done.stdout) == (0, "100000\n")
    # asyncio itself may warn that a task was pending when its loop was destroyed; nothing else may appear.
    assert "Fatal" not in done.stderr
    assert "panic" not in done.stderr


def test_a_store_that_was_not_closed_warns_and_is_closed(tmp_path: Path) -> None:
    store = almadia.open(tmp_path / "store")
    store[b"k"] = b"v"
    path = re.escape(repr(str(tmp_path / "store")))

    with pytest.warns(ResourceWarning, match=f"unclosed <almadia.Store node=1 path={path}>; use close"):
        del store
        gc.collect()

    with almadia.open(tmp_path / "store") as store:
        assert store[b"k"] == b"v"


FORKED = """
    import os, sys
    import almadia

    {setup}

    child = os.fork()
    if child == 0:
        {in_child}
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    store[b"parent"] = b"lives"
    print("child", os.waitstatus_to_exitcode(status), store[b"parent"])
    store.close()
"""


def forked(setup: str, in_child: str) -> str:
    indented = textwrap.indent(textwrap.dedent(in_child).strip(), " " * 8).strip()
    return FORKED.format(setup=textwrap.indent(textwrap.dedent(setup).strip(), " " * 4).strip(), in_child=indented)


OPEN = """
store = almadia.open("store")
store[b"k"] = b"v"
snapshot = store.snapshot()
walk = snapshot.items()
next(walk)
view = snapshot.get_view(b"k")
txn = store.transaction()
txn[b"own"] = b"v"
txn_walk = txn.items()
next(txn_walk)
batch = almadia.Batch()
"""


def test_a_child_is_told_that_the_store_is_its_parents(tmp_path: Path) -> None:
    in_child = """
    def name(call):
        try:
            call()
        except almadia.AlmadiaError as error:
            return error.name
    calls = [
        lambda: store.put(b"a", b"b"), lambda: store[b"k"], lambda: store.snapshot(), lambda: store.write(batch),
        lambda: store.status(), lambda: store.regions(), lambda: store.wait_leader(), lambda: snapshot[b"k"],
        lambda: snapshot.get_many([]), lambda: list(snapshot.items()), lambda: next(walk),
        lambda: store.transaction(), lambda: store.transact(len), lambda: txn[b"k"], lambda: b"k" in txn,
        lambda: txn.put(b"k", b"w"), lambda: list(txn.items()), lambda: next(txn_walk), lambda: txn.commit(),
        lambda: almadia.open("other"),
    ]
    print({name(call) for call in calls}, bytes(view), repr(store), flush=True)
    snapshot.close()
    txn.rollback()
    store.close()
    """

    output = run_quietly(tmp_path, forked(OPEN, in_child), "-W", "ignore::DeprecationWarning")

    assert output.startswith(
        "{'FORKED'} b'v' <almadia.Store node=1 path='store' (a parent process had a store open when it forked;"
    )
    assert output.endswith("child 0 b'lives'\n")


@pytest.mark.parametrize(
    "ending", ["pass", "del store, snapshot, walk, view, txn, txn_walk", "os._exit(0)", "sys.exit(0)"]
)
def test_the_end_of_a_child_is_harmless(tmp_path: Path, ending: str) -> None:
    output = run_quietly(tmp_path, forked(OPEN, ending), "-W", "ignore::DeprecationWarning")

    assert output == "child 0 b'lives'\n"


@pytest.mark.parametrize("round_", range(3))
def test_a_child_of_a_busy_process_ends(tmp_path: Path, round_: int) -> None:
    setup = """
    import threading
    store = almadia.open("store")
    def work():
        while not stop.is_set():
            store.put(b"k", b"v")
            store.get(b"k")
    stop = threading.Event()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    """
    program = forked(setup, "pass").replace("store.close()", "stop.set(); [t.join() for t in threads]; store.close()")

    assert run_quietly(tmp_path, program, "-W", "ignore::DeprecationWarning") == "child 0 b'lives'\n"


def test_a_child_that_merely_exits_waits_for_no_thread_of_its_parent(tmp_path: Path) -> None:
    program = """
        import os, resource, sys
        import almadia

        store = almadia.open("store")
        child = os.fork()
        if child == 0:
            sys.exit(0)
        os.waitpid(child, 0)
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_nvcsw)
        store.close()
    """

    waits = int(run_quietly(tmp_path, program, "-W", "ignore::DeprecationWarning"))

    # It looked every millisecond of five seconds for a thread that it does not have.
    assert waits < 1000


def test_children_of_a_process_that_closed_its_stores_open_some(tmp_path: Path) -> None:
    program = """
        import os, sys
        import almadia

        def use(name):
            with almadia.open(name, engine_memtable_bytes=1 << 20) as store:
                for number in range(64):
                    store[b"%d" % number] = bytes(100000)
                with store.snapshot() as snapshot:
                    assert len(list(snapshot)) == 64

        use("parent")
        for number in range(3):
            child = os.fork()
            if child == 0:
                use(f"child-{number}")
                sys.exit(0)
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status))
        use("parent")
    """

    assert run_quietly(tmp_path, program, "-W", "ignore::DeprecationWarning") == "0\n0\n0\n"


def test_opening_says_when_the_system_refuses_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as refusing:
        refusing.setattr(threading.Thread, "start", refuse)
        with pytest.raises(almadia.IoError, match="can't start new thread") as caught:
            almadia.open(tmp_path / "store")

    assert caught.value.errno == errno.EAGAIN
    with almadia.open(tmp_path / "store") as store:
        store[b"k"] = b"v"


PROCESSES = """
    import contextlib
    import multiprocessing
    import almadia

    def member(node, addresses, results, done):
        with almadia.open(f"data-{{node}}", node_id=node, initial_members=addresses, options={options!r}) as store:
            store.put(b"member/%d" % node, b"up", timeout=30)
            results.put(node)
            done.wait(30)
            # No call is in flight. On a busy machine the threads may end later; leaving the block waits for them.
            with contextlib.suppress(almadia.ShuttingDownError):
                store.close(timeout=0)

    if __name__ == "__main__":
        context = multiprocessing.get_context({method!r})
        results, done = context.Queue(), context.Event()
        addresses = {addresses!r}
        processes = [context.Process(target=member, args=(node, addresses, results, done)) for node in addresses]
        for process in processes:
            process.start()
        print(sorted(results.get(timeout=40) for _ in processes))
        done.set()
        for process in processes:
            process.join()
        print([process.exitcode for process in processes])
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes_of_multiprocessing_open_stores_of_their_own(tmp_path: Path, method: str) -> None:
    program = PROCESSES.format(method=method, addresses=free_addresses(3), options=FAST)

    assert run_quietly(tmp_path, program) == "[1, 2, 3]\n[0, 0, 0]\n"


def test_a_pool_hands_back_errors_of_almadia(tmp_path: Path) -> None:
    program = """
        import multiprocessing
        import almadia

        def look(path):
            with almadia.open(path) as store:
                return store[b"missing"]

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                try:
                    pool.apply(look, ("store",))
                except almadia.KeyNotFound as error:
                    print(error)
    """

    assert run_quietly(tmp_path, program) == "there is no key b'missing' [NOT_FOUND]\n"


def test_what_the_library_logs_comes_to_pythons_logging(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="almadia")
    with almadia.open(tmp_path / "store") as store:
        store[b"k"] = b"v"

    raft = [record for record in caplog.records if record.name.startswith("almadia.raft")]
    assert raft
    elected = [record for record in caplog.records if record.getMessage() == "region 1: node 1 leads in term 6"]
    assert [record.levelno for record in elected] == [logging.INFO]
    assert all(record.levelno >= logging.DEBUG for record in caplog.records)
    assert "almadia-logging" not in [thread.name for thread in threading.enumerate()]


def test_nothing_is_shown_without_a_handler(tmp_path: Path) -> None:
    program = """
        import almadia

        with almadia.open("store") as store:
            store[b"k"] = b"v"
    """

    assert run_quietly(tmp_path, program) == ""


def test_opening_and_closing_leaves_nothing_behind(tmp_path: Path) -> None:
    program = """
        import gc, os, time
        import almadia

        def held(files):
            gc.collect()
            return len(os.listdir(f"/proc/self/{files}"))

        def once():
            with almadia.open("store") as store:
                store[b"k"] = b"v"
                with store.snapshot() as snapshot:
                    list(snapshot.items())

        once()
        descriptors, threads = held("fd"), held("task")
        for _ in range(10):
            once()
        # The system takes a moment to remove a thread that has ended.
        until = time.monotonic() + 30
        while held("task") > threads and time.monotonic() < until:
            pass
        print(held("fd") == descriptors and held("task") <= threads, descriptors, threads, held("fd"), held("task"))
    """

    assert run_quietly(tmp_path, program).startswith("True")
