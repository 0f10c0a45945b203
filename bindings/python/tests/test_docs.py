"""The code blocks of the README and the guides run as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from almadia.membership import Change, encoded

from .conftest import without_slow_steps

REPOSITORY = Path(__file__).parents[3]


def blocks(page: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```$", (REPOSITORY / page).read_text(), re.DOTALL | re.MULTILINE)


def run(script: str, directory: Path) -> str:
    """Runs a script as a user would, with warnings as errors."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", script]
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert without_slow_steps(ran.stderr) == ""
    return ran.stdout


def test_the_quick_starts_of_the_readme_work_as_they_stand(tmp_path: Path) -> None:
    blocking, asynchronous, transaction = blocks("README.md")

    assert run(blocking, tmp_path) == "hello, world\n[(b'greeting', b'hello, world')]\n"
    assert run(asynchronous, tmp_path) == "b'hello, world'\n"
    assert run(transaction, tmp_path) == "moved False\n"


@pytest.mark.parametrize("page", ["docs/python.md", "docs/asyncio.md"])
def test_the_blocks_of_a_guide_work_in_their_order(page: str, tmp_path: Path) -> None:
    shown = blocks(page)
    assert shown

    run("\n".join(shown), tmp_path)


class Asked:
    """Stands in for a store: takes changes of the members as one does, and makes none."""

    def change_members(self, *changes: Change, timeout: float | None = None) -> None:
        assert timeout is None or timeout > 0
        self.encoded = encoded(changes)


def test_the_changes_of_the_guide_to_a_cluster_are_ones() -> None:
    (block,) = blocks("docs/cluster.md")
    page = (REPOSITORY / "docs/cluster.md").read_text()
    rows = re.findall(r"^\| .*\| (.*) \|$", page.split("## Failures")[0], re.MULTILINE)
    shown = [code for row in rows for code in re.findall(r"`([^`]*)`", row)]
    assert len(shown) > 8
    namespace: dict[str, object] = {"store": Asked()}

    exec(block, namespace)

    for code in shown:
        made = eval(code, namespace)
        assert made is None or encoded([made])


ASK_THE_SERVICE = """
import asyncio

import httpx


async def ask() -> None:
    async with lifespan(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://it") as client:
        assert (await client.get("/name")).status_code == STATUS_AT_FIRST
        assert (await client.put("/name", content=b"value")).status_code == 204
        assert (await client.get("/name")).content == b"value"


asyncio.run(ask())
"""


def test_the_service_of_the_guide_keeps_what_it_is_given(tmp_path: Path) -> None:
    *_, service = blocks("docs/asyncio.md")

    run(service + ASK_THE_SERVICE.replace("STATUS_AT_FIRST", "404"), tmp_path)
    run(service + ASK_THE_SERVICE.replace("STATUS_AT_FIRST", "200"), tmp_path)


def test_the_first_example_is_short_and_says_hello(tmp_path: Path) -> None:
    example = (REPOSITORY / "examples/python/hello.py").read_text()

    assert len(example.splitlines()) < 40
    assert run(example, tmp_path) == "hello, world\n"
