"""Runs the chaos tests: `python3 tests/chaos/run.py PROGRAMS [--seed N] [--only PART] [--cycles N]`.

With `--before PROGRAMS`, those of an earlier build, it runs the cases of upgrades instead: see scripts/test-upgrade.sh.

PROGRAMS is the directory with chaos_member, powerloss.so and powerloss_probe. A failing case prints the
command that replays it and keeps its directory. The last line is 'N passed, N failed'.
"""

import argparse
import random
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from bench import CASES, Bench

# Each import adds its cases, in this order: the shim is proved before anything is concluded from it.
import shim_cases  # noqa: F401, I001
import refusal_cases  # noqa: F401
import damage_cases  # noqa: F401
import intruder_cases  # noqa: F401
import pause_cases  # noqa: F401
import stall_cases  # noqa: F401
import crash_cases  # noqa: F401
import raft_snapshot_cases  # noqa: F401
import membership_cases  # noqa: F401
import growth_cases  # noqa: F401

DEFAULT_SEED = 20261121


def main() -> int:
    arguments = _parse_arguments()
    cases = CASES
    if arguments.before:
        import upgrade_cases

        cases = upgrade_cases.CASES
    chosen = [case for case in cases if arguments.only in case.__name__]
    if not chosen:
        sys.exit(f"no case has '{arguments.only}' in its name")
    print(f"chaos tests: {len(chosen)} cases, seed {arguments.seed}, {arguments.cycles} cycles", flush=True)
    root = Path(tempfile.mkdtemp(prefix="almadia-chaos-"))
    failed = [case for case in chosen if not _run(case, arguments, root)]
    if not failed:
        shutil.rmtree(root)
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("programs", type=Path)
    parser.add_argument("--before", type=Path, help="the programs of an earlier build")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--only", default="", help="a part of the names of the cases to run")
    parser.add_argument("--cycles", type=int, default=30, help="cycles of the crash and power-loss cases")
    return parser.parse_args()


def _run(case, arguments, root: Path) -> bool:
    name = case.__name__
    directory = root / name
    directory.mkdir()
    rng = random.Random(f"{arguments.seed}/{name}")
    before = arguments.before.resolve() if arguments.before else None
    bench = Bench(arguments.programs.resolve(), directory, arguments.seed, arguments.cycles, rng, before)
    started = time.monotonic()
    try:
        case(bench)
        passed = True
    except Exception:  # a case may fail in any way; the others still run
        passed = False
        traceback.print_exc(file=sys.stdout)
        print(f"  kept: {directory}\n  replay: {_replay_command(name, arguments)}")
    finally:
        for member in bench.members:
            member.kill()
    if passed:
        # Only now: a live member still creates and removes files.
        shutil.rmtree(directory)
    figures = f" ({'; '.join(bench.notes)})" if bench.notes else ""
    print(f"{'ok  ' if passed else 'FAIL'} {name} {time.monotonic() - started:.1f} s{figures}", flush=True)
    return passed


def _replay_command(name: str, arguments) -> str:
    words = ["python3", sys.argv[0], str(arguments.programs), "--seed", str(arguments.seed)]
    return shlex.join(words + ["--only", name, "--cycles", str(arguments.cycles)])


if __name__ == "__main__":
    sys.exit(main())
