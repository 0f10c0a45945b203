"""A disk that does not answer: calls and `close` keep their deadlines all the same."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SHIM = Path(__file__).parents[3] / "tests" / "shim" / "hung_disk.c"

# The disk hangs until all answers have arrived: if a deadline waited for the disk, the alarm would end the program.
PRELUDE = """
    import asyncio, contextlib, os, signal, threading
    import almadia, almadia.aio

    signal.alarm(50)
    syncs = os.environ["HUNG_SYNCS"]

    def hang():
        with contextlib.suppress(FileNotFoundError):
            os.unlink(syncs + ".inside")
        open(syncs, "w").close()

    def wait_inside():
        while not os.path.exists(syncs + ".inside"):
            pass

    def let_go():
        os.unlink(syncs)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library to preload that makes syncs hang."""
    library = tmp_path_factory.mktemp("shim") / "hung_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM)], check=True)
    return library


def run(shim: Path, directory: Path, program: str) -> str:
    """The output of a program that runs on a disk that can hang."""
    environment = os.environ | {"LD_PRELOAD": str(shim), "HUNG_SYNCS": str(directory / "syncs")}
    command = [sys.executable, "-c", textwrap.dedent(PRELUDE) + textwrap.dedent(program)]
    ran = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_calls_of_a_loop_are_answered_by_their_deadlines(shim: Path, tmp_path: Path) -> None:
    program = """
        async def name(call):
            try:
                await call
            except almadia.AlmadiaError as error:
                return f"{error.name} {error.outcome.value}"

        async def main():
            async with almadia.aio.open("store", read_lease=False) as store:
                await store.put(b"a", b"1")
                hang()
                first = asyncio.ensure_future(name(store.put(b"k", b"v", timeout=0.3)))
                await asyncio.sleep(0)
                wait_inside()
                calls = [store.put(b"l", b"v", timeout=0.3), store.get(b"a", timeout=0.3)]
                print(await asyncio.gather(first, *map(name, calls)))
                let_go()

        asyncio.run(main())
    """

    output = run(shim, tmp_path, program)

    assert output == "['TIMEOUT unknown', 'DEADLINE_BEFORE_START not applied', 'READ_TIMEOUT not applied']\n"


def test_blocking_calls_are_answered_by_their_deadlines(shim: Path, tmp_path: Path) -> None:
    program = """
        def name(*arguments):
            try:
                store.put(*arguments, timeout=0.3)
            except almadia.AlmadiaError as error:
                print(error.name, flush=True)

        with almadia.open("store") as store:
            store.put(b"a", b"1")
            hang()
            first = threading.Thread(target=name, args=(b"k", b"v"))
            first.start()
            wait_inside()
            first.join()
            name(b"l", b"v")
            let_go()
    """

    assert run(shim, tmp_path, program) == "TIMEOUT\nDEADLINE_BEFORE_START\n"


def test_close_returns_by_its_timeout_and_can_be_repeated(shim: Path, tmp_path: Path) -> None:
    program = """
        async def main():
            store = await almadia.aio.open("store")
            hang()
            call = asyncio.ensure_future(store.put(b"k", b"v", timeout=3600))
            await asyncio.sleep(0)
            wait_inside()
            try:
                await store.close(timeout=0.4)
            except almadia.ShuttingDownError as error:
                print(error.name, error.outcome.value, isinstance(error, TimeoutError))
            for refused in (call, store.get(b"k"), almadia.aio.open("store")):
                try:
                    await refused
                except almadia.AlmadiaError as error:
                    print(error.name)
            let_go()
            await store.close(timeout=40)
            async with almadia.aio.open("store") as again:
                print(await again.get(b"k"))

        asyncio.run(main())
    """

    output = run(shim, tmp_path, program)

    assert output == "SHUTTING_DOWN not applied True\nSHUTDOWN_IN_FLIGHT\nCLOSED\nLOCKED\nb'v'\n"


def test_the_interpreter_ends_while_the_disk_hangs(shim: Path, tmp_path: Path) -> None:
    program = """
        store = almadia.open("store")
        hang()

        def put():
            with contextlib.suppress(almadia.AlmadiaError):
                store.put(b"k", b"v", timeout=3600)

        threading.Thread(target=put, daemon=True).start()
        wait_inside()
        print("done", flush=True)
    """

    assert run(shim, tmp_path, program).startswith("done\n")
