"""What is in the installed package."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import almadia
import almadia.aio
import almadia.membership
import almadia.recipes
import almadia.recipes.aio
import pytest
from almadia import _almadia, errors

MODULES = [almadia, almadia.aio, almadia.errors, almadia.membership, almadia.recipes, almadia.recipes.aio]


def test_only_the_modules_entry_is_exported() -> None:
    found = subprocess.run(
        ["nm", "-D", "--defined-only", _almadia.__file__], capture_output=True, text=True, check=True, timeout=60
    )

    assert [line.split()[-1] for line in found.stdout.splitlines()] == ["PyInit__almadia"]


def test_the_module_has_no_name_that_another_library_could_be_taken_for() -> None:
    found = subprocess.run(["readelf", "-d", _almadia.__file__], capture_output=True, text=True, check=True, timeout=60)

    assert "SONAME" not in found.stdout
    assert "RPATH" not in found.stdout
    assert "RUNPATH" not in found.stdout
    assert "libpython" not in found.stdout


def test_the_package_uses_every_name_of_the_extension_module() -> None:
    public = {getattr(almadia, name) for name in almadia.__all__ if inspect.isclass(getattr(almadia, name))}
    names, attributes = names_in_the_package()

    for name, thing in vars(_almadia).items():
        if name.startswith("__"):
            continue
        assert name in names, f"_almadia.{name} is used by nothing"
        if inspect.isclass(thing) and thing not in public:
            for member in vars(thing):
                assert member.startswith("__") or member in attributes, f"_almadia.{name}.{member} is used by nothing"


def names_in_the_package() -> tuple[set[str], set[str]]:
    """The names of the extension module that the package uses, and the attributes it gets of whatever object."""
    names: set[str] = set()
    attributes: set[str] = set()
    for file in Path(str(almadia.__file__)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "_almadia":
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.Attribute):
                attributes.add(node.attr)
                if isinstance(node.value, ast.Name) and node.value.id == "_almadia":
                    names.add(node.attr)
    return names, attributes


def test_recipes_use_public_names_only() -> None:
    files = sorted((Path(str(almadia.__file__)).parent / "recipes").glob("*.py"))
    modules = {file.stem for file in files}
    assert {"counter", "documents", "names", "queue", "aio"} < modules

    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.module is None or node.module in modules, file
            elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "almadia":
                assert not any(part.startswith("_") for part in str(node.module).split(".")), file
                assert not any(alias.name.startswith("_") for alias in node.names), file
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                # Its own, or those of the other classes of recipes.
                assert node.attr not in {*dir(almadia.Store), *dir(almadia.Snapshot), *dir(almadia.aio.Store)}, file


def test_the_package_needs_nothing_and_says_that_it_is_typed() -> None:
    files = importlib.metadata.files("almadia")

    assert importlib.metadata.requires("almadia") in (None, [])
    assert importlib.metadata.version("almadia") == almadia.__version__
    assert {"py.typed", "_almadia.pyi", "errors.py", "aio.py", "LICENSE"} <= {
        Path(str(file)).name for file in files or []
    }


def test_the_tests_see_the_installed_package() -> None:
    assert "site-packages" in str(almadia.__file__)


@pytest.mark.parametrize("module", ["almadia", "almadia.recipes"])
def test_importing_brings_nothing_heavy(module: str) -> None:
    heavy = {"asyncio", "logging", "multiprocessing", "dataclasses"}
    program = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.__name__))
def test_every_public_name_is_documented(module: ModuleType) -> None:
    for name in module.__all__:
        thing: Any = getattr(module, name)
        if not inspect.isclass(thing) and not inspect.isroutine(thing):
            continue  # The type of an argument; its documentation stands behind it in almadia/typing.py.
        assert inspect.getdoc(thing), name
        if inspect.isclass(thing):
            ours = [base for base in thing.__mro__ if base.__module__.partition(".")[0] == "almadia"]
            for member, value in [pair for base in ours for pair in vars(base).items()]:
                if not member.startswith("_") and (callable(value) or inspect.isdatadescriptor(value)):
                    assert inspect.getdoc(value), f"{name}.{member}"


def test_all_errors_are_named_in_the_package() -> None:
    assert all(getattr(almadia, name) is getattr(errors, name) for name in errors.__all__)


def test_help_shows_a_program_of_three_members_that_runs(tmp_path: Path) -> None:
    from .conftest import free_addresses

    program = quick_start("Three members")
    program = program.replace(
        '{1: "127.0.0.1:7001", 2: "127.0.0.1:7002", 3: "127.0.0.1:7003"}', repr(free_addresses(3))
    )
    members = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(node)],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in (1, 2, 3)
    ]
    lines = []
    for process in members:
        assert process.stdout is not None
        lines.append(process.stdout.readline())
    for process in members:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=60) for process in members]

    assert all(line.startswith("b'member/") for line in lines), (lines, ends)
    assert [process.returncode for process in members] == [0, 0, 0], ends


def test_help_shows_a_program_of_one_member_that_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", quick_start("One member")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("hello, world\n", "")


def test_help_of_aio_shows_a_program_that_runs(tmp_path: Path) -> None:
    program = indented_after(almadia.aio.__doc__ or "", "The asyncio front end")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == "b'hello, world'\nb'greeting' b'hello, world'\n"


def quick_start(heading: str) -> str:
    return indented_after(almadia.__doc__ or "", heading)


def indented_after(text: str, heading: str) -> str:
    """The first indented block after the paragraph that begins with `heading`."""
    lines = text[text.index(heading) :].splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("    "))
    block = []
    for line in lines[begin:]:
        if line and not line.startswith("    "):
            break
        block.append(line[4:])
    return "\n".join(block).rstrip()


def test_aio_testing_and_recipes_are_there_after_importing_the_package() -> None:
    program = (
        "import almadia; print(almadia.aio.open.__module__, almadia.testing.Cluster.__module__,"
        " almadia.recipes.Counter.__module__, almadia.recipes.aio.Counter.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == "almadia.aio almadia.testing almadia.recipes.counter almadia.recipes.aio\n"
    with pytest.raises(AttributeError, match="module 'almadia' has no attribute 'opne'"):
        almadia.opne  # type: ignore[attr-defined]  # noqa: B018 - mypy must see it too.


@pytest.mark.parametrize(
    "word", ["@pytest.mark.almadia(", "--almadia-log-level", "--almadia-keep-data", "with reserved"]
)
def test_help_of_testing_names_what_the_plugin_takes(word: str) -> None:
    assert word in (almadia.testing.__doc__ or "")


@pytest.mark.parametrize("text", [almadia.__doc__, almadia.Outcome.__doc__], ids=["package", "Outcome"])
def test_help_says_what_a_read_says_of_an_unknown_outcome(text: str) -> None:
    words = " ".join(text.split())

    assert "shows" in words
    assert "settles nothing" in words
    assert "then decide" not in words
    assert "before you try again" not in words
