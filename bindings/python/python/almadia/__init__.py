"""Almadia: a replicated, ordered key-value store that you link into your program.

Three processes that open it form a cluster: every member accepts writes and linearizable reads, and no acknowledged
write is lost when a machine fails. There is no server to run. Keys and values are bytes; keys are ordered.

One member, for a start:

    import almadia

    with almadia.open("hello-store") as store:
        store[b"greeting"] = b"hello, world"
        print(store[b"greeting"].decode())

Three members: the same program on each machine, each with its own number. `initial_members` is the same on all; members
that come later have `cluster_join` instead. Addresses other than loopback need `transport_insecure=True`, because
members communicate in plain text:

    import sys
    import almadia

    members = {1: "127.0.0.1:7001", 2: "127.0.0.1:7002", 3: "127.0.0.1:7003"}
    me = int(sys.argv[1])

    with almadia.open(f"data-{me}", node_id=me, initial_members=members) as store:
        leader = store.wait_leader(timeout=60)          # A majority must be up; which member leads does not matter.
        store.put(b"member/%d" % me, b"up")             # Any member accepts writes.
        with store.batch() as batch:                    # All or nothing.
            batch[b"a"] = b"1"
            batch[b"b"] = b"2"
        with store.snapshot() as snapshot:              # A view that does not change.
            for key, value in snapshot.items(prefix=b"member/"):
                print(key, value, flush=True)
        input("Enter ends this member. ")               # Two of three must stay up for the others to work.

What to know:

* Every call is answered by its deadline: `timeout=` in seconds, or the store's default, 5 seconds unless set by
  `open(..., timeout=...)`. The answer is at most 10 milliseconds late, plus delays of a busy machine, even while a disk
  hangs or there is no leader. Ctrl-C interrupts a waiting call.
* An error says whether the write was applied. `error.outcome` is `Outcome.NOT_APPLIED` - it was not and never will be
  applied, so retry if `error.retryable` - or `Outcome.UNKNOWN`: it may have been applied, or may be at any later time.
  A read that shows the write settles it; one that does not show it settles nothing, because a write that was forwarded
  to the leader may take effect even after a later write through another member. Repeat the write only if that is
  harmless, give each such write a key or a value of its own, and read again:

      try:
          store.put(b"order/4711", b"paid")  # Nobody else writes this key, and it is always set to this value.
      except almadia.AlmadiaError as error:
          if error.outcome is almadia.Outcome.UNKNOWN:
              ...  # It may be applied at any later time. Repeating the same put is harmless here.
          elif error.retryable:
              ...  # Certainly not applied; the same call may succeed later.
          else:
              raise

* Calls that fail raise an `AlmadiaError`; wrong types and values of Python arguments raise `TypeError` and
  `ValueError`. Each error code has its own class, such as `almadia.NotLeaderError`; `help(almadia.errors)` lists them.
* A write that returned is on disk on a majority of the members. Reads are linearizable: they show every write that any
  member acknowledged before.
* No lock is needed between members: `store.add(b"n")` counts, `put_if_absent` and `compare_and_set` write only what is
  as it was seen, `take_first` and `put_versioned` are a queue, batches take conditions (`help(almadia.Batch)`).
* `with store.transaction() as txn` reads and writes several keys as if nothing else happened in between, or not at all;
  `store.transact(function)`, or a function decorated with `@almadia.transactional`, does so again until it commits.
* `store[key]` raises `KeyNotFound`, which is a `KeyError`; `store.get(key)` returns None.
* `store.mapping(prefix)` is a `collections.abc.MutableMapping`, for `shelve` and other code that takes one.
* Stores and snapshots may be used by many threads; calls release the GIL.
* Close what you open, with `with` or `close()`. A store that is not closed causes a ResourceWarning but loses nothing.
* Open stores after `fork`, not before: in a child process, calls on a store of the parent raise `ForkedError`, and no
  store can be opened if the parent had one open when it forked, because all stores of a process share threads that the
  child does not have. With `multiprocessing` use "spawn" or "forkserver", or open stores only in the children.
* With gevent and eventlet a blocking call blocks every greenlet of its thread. Sub-interpreters get an `ImportError`.
* `logging.getLogger("almadia")` receives the library's log. The library never writes to the terminal.
* `almadia.options()` lists every option with its range, default and meaning.
* `almadia.aio` is the same for asyncio: `async with almadia.aio.open(...) as store: await store.put(...)`.
* `store.change_members(...)` adds, replaces and removes members while the cluster serves, and `store.members()` lists
  them: see `help(almadia.membership)`.
* `almadia.recipes` has counters, work queues, unique names and updates of documents, `almadia.recipes.aio` the same
  for asyncio.
* `almadia.testing` has in-process clusters whose network a test can break; for pytest, the fixture `almadia_cluster`.
"""

from typing import TYPE_CHECKING

from ._almadia import VERSION, Batch, Items, Position, RangeDigest
from ._transactions import Transaction, transactional

# One class for each code. They are not in __all__, so that help(almadia) shows first what a program needs first.
from .errors import (
    AbiMismatchError as AbiMismatchError,
    AlmadiaError,
    BatchAcrossRegionsError as BatchAcrossRegionsError,
    BufferTooSmallError as BufferTooSmallError,
    CancelledError as CancelledError,
    CancelledInFlightError as CancelledInFlightError,
    ClosedError as ClosedError,
    ConflictError as ConflictError,
    CorruptionError as CorruptionError,
    DeadlineBeforeStartError as DeadlineBeforeStartError,
    EndError as EndError,
    FailedInFlightError as FailedInFlightError,
    ForkedError as ForkedError,
    IncompatibleFormatError as IncompatibleFormatError,
    InternalError as InternalError,
    InvalidArgumentError as InvalidArgumentError,
    InvalidConfigError as InvalidConfigError,
    IoError as IoError,
    IoExistsError as IoExistsError,
    IoIsADirectoryError as IoIsADirectoryError,
    IoNotADirectoryError as IoNotADirectoryError,
    IoNotFoundError as IoNotFoundError,
    KeyNotFound as KeyNotFound,
    LaggingError as LaggingError,
    LockedError as LockedError,
    NetworkError as NetworkError,
    NoLeaderError as NoLeaderError,
    NoSpaceError as NoSpaceError,
    NotANumberError as NotANumberError,
    NotLeaderError as NotLeaderError,
    NullPointerError as NullPointerError,
    Outcome,
    OverloadedError as OverloadedError,
    PanicError as PanicError,
    PermissionDeniedError as PermissionDeniedError,
    PoisonedError as PoisonedError,
    PreconditionFailedError as PreconditionFailedError,
    ReadTimeoutError as ReadTimeoutError,
    RegionChangedError as RegionChangedError,
    Removed as Removed,
    ShutdownInFlightError as ShutdownInFlightError,
    ShuttingDownError as ShuttingDownError,
    SkippedInFlightError as SkippedInFlightError,
    TooLargeError as TooLargeError,
    TransferInProgressError as TransferInProgressError,
    UnsupportedError as UnsupportedError,
    WouldDeadlockError as WouldDeadlockError,
    WriteTimeoutError as WriteTimeoutError,
    WrongClusterError as WrongClusterError,
)
from .mapping import StoreMapping
from .options import Option, options
from .status import RaftSnapshotStatus, RegionStatus, Status
from .store import BatchBlock, Snapshot, Store, open  # noqa: A004
from .typing import BytesLike, Level, Members, OptionValue

if TYPE_CHECKING:
    from . import aio as aio, membership as membership, recipes as recipes, testing as testing
else:

    def __getattr__(name):
        """Imports what is not always needed on first use: importing asyncio takes longer than all else."""
        if name in ("aio", "membership", "recipes", "testing"):
            from importlib import import_module

            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__version__ = VERSION

__all__ = [
    "AlmadiaError",
    "Batch",
    "BatchBlock",
    "BytesLike",
    "Items",
    "Level",
    "Members",
    "Option",
    "OptionValue",
    "Outcome",
    "Position",
    "RaftSnapshotStatus",
    "RangeDigest",
    "RegionStatus",
    "Snapshot",
    "Status",
    "Store",
    "StoreMapping",
    "Transaction",
    "open",
    "options",
    "transactional",
]
