"""Programs that run Python in ways of their own: sub-interpreters, and greenlets in the place of threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import free_addresses
from .test_process import run, run_quietly

INTERPRETERS = """
    import sys, textwrap
    if sys.version_info >= (3, 13):
        import _interpreters as interpreters
        execute = interpreters.exec
    else:
        import _xxsubinterpreters as interpreters
        execute = interpreters.run_string

    IMPORT = textwrap.dedent('''
        for round in range(2):
            try:
                import almadia
            except ImportError as error:
                print("ImportError:", error, flush=True)
    ''')

    def use():
        import almadia

        with almadia.open("store") as store:
            store[b"k"] = b"v"
            print(store[b"k"], flush=True)
"""

REFUSED = "ImportError: almadia works in the main interpreter only, and this is a sub-interpreter: "


@pytest.mark.parametrize("main_is_first", [True, False])
@pytest.mark.parametrize("destroys", [True, False])
def test_a_sub_interpreter_is_refused_and_the_main_one_goes_on(
    tmp_path: Path, main_is_first: bool, destroys: bool
) -> None:
    program = (
        INTERPRETERS
        + f"""
    if {main_is_first}:
        use()
    for round in range(3):
        other = interpreters.create()
        execute(other, IMPORT)
        if {destroys}:
            interpreters.destroy(other)
        use()
    """
    )

    lines = run_quietly(tmp_path, program).splitlines()

    assert [line.startswith(REFUSED) for line in lines] == [False] * main_is_first + [True, True, False] * 3
    assert {line for line in lines if not line.startswith(REFUSED)} == {"b'v'"}


PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "gevent, threads only": "from gevent import monkey; monkey.patch_thread()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
    "eventlet, threads only": "import eventlet; eventlet.monkey_patch(all=False, thread=True)",
}

patched = pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)

# eventlet says at each import that it should not be used for anything new.
FLAGS = ("-W", "ignore")


@patched
def test_a_store_works_where_threads_are_greenlets(tmp_path: Path, patch: str) -> None:
    program = f"""
        {patch}
        import logging, threading, time
        import almadia

        class Shown(logging.Handler):
            def emit(self, record):
                messages.append(record.getMessage())

        messages = []
        logging.getLogger("almadia").addHandler(Shown())
        logging.getLogger("almadia").setLevel(logging.INFO)

        def work(store, name):
            for number in range(20):
                store[b"%s/%d" % (name, number)] = name
                assert store[b"%s/%d" % (name, number)] == name

        for round in range(3):
            with almadia.open("store") as store:
                store.wait_leader(timeout=30)
                workers = [threading.Thread(target=work, args=(store, name)) for name in (b"a", b"b")]
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()
                with store.snapshot() as snapshot:
                    assert len(list(snapshot)) == 40
            print(sum("node 1 leads" in message for message in messages))
    """

    assert run_quietly(tmp_path, program, *FLAGS) == "1\n2\n3\n"


@patched
def test_the_log_comes_while_a_greenlet_waits_for_something_else(tmp_path: Path, patch: str) -> None:
    program = f"""
        {patch}
        import logging, threading
        import almadia

        shown = threading.Event()

        class Shown(logging.Handler):
            def emit(self, record):
                if "leads" in record.getMessage():
                    shown.set()

        logging.getLogger("almadia").addHandler(Shown())
        logging.getLogger("almadia").setLevel(logging.INFO)
        with almadia.open("store") as store:
            print(shown.wait(30))
    """

    assert run_quietly(tmp_path, program, *FLAGS) == "True\n"


@patched
def test_ctrl_c_ends_a_call_where_threads_are_greenlets(tmp_path: Path, patch: str) -> None:
    program = f"""
        {patch}
        import os, signal
        import almadia

        # A handler runs only when the waiting call looks for signals.
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with almadia.open("store", initial_members={free_addresses(3)!r}) as store:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.3)
                store.put(b"k", b"v", timeout=3600)
            except KeyboardInterrupt:
                print("interrupted")
    """

    assert run_quietly(tmp_path, program, *FLAGS) == "interrupted\n"


def test_a_store_opened_in_gevents_pool_of_threads_is_closed_outside(tmp_path: Path) -> None:
    program = """
        from gevent import monkey; monkey.patch_all()
        import gevent
        import almadia

        pool = gevent.get_hub().threadpool
        store = pool.apply(almadia.open, ("store",))
        pool.apply(store.put, (b"k", b"v"))
        print(store[b"k"])
        store.close()
    """

    assert run_quietly(tmp_path, program, *FLAGS) == "b'v'\n"


def test_a_program_that_never_closes_its_store_exits_where_threads_are_greenlets(tmp_path: Path) -> None:
    for patch in PATCHES.values():
        done = run(tmp_path, f"{patch}\nimport almadia\nstore = almadia.open('store')\nstore[b'k'] = b'v'", *FLAGS)

        assert (done.returncode, done.stderr) == (0, "")
