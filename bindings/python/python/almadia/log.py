"""The library's log, in `logging.getLogger("almadia")`.

One thread passes the records to `logging` while at least one store is open, so that no internal thread of a store ever
waits for a handler; with gevent and eventlet a greenlet does. Without a handler nothing is shown: a library does not
write to a program's terminal.
"""

from __future__ import annotations

import errno
import logging
import os
import threading

from . import _almadia
from .errors import IoError

logger = logging.getLogger("almadia")
logger.addHandler(logging.NullHandler())

TRACE = 5
"""The level below DEBUG: every raft message. Captured only if the logger is enabled for it when a store is opened."""

logging.addLevelName(TRACE, "TRACE")


PAUSE_SECONDS = 0.05
"""How often a reader that shares its thread with others looks for records."""


class Reader:
    """Passes records to `logging`, on a thread of its own, until capturing ends.

    With gevent or eventlet a `threading.Thread` shares the operating system's thread with what started it. If it waited
    for records there, nothing would run any more, so it looks for them again and again and pauses in between.
    """

    def __init__(self) -> None:
        self._shares_thread = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="almadia-logging", daemon=True)

    def start(self) -> None:
        """Starts the thread. One that is shared has run until its first pause when this returns."""
        self._thread.start()

    def end(self) -> None:
        """To be called when capturing has ended. Does not wait."""
        self._ended = True

    def finish(self) -> None:
        """Returns when the last record was shown."""
        if not self._shares_thread:
            self._thread.join()
            return
        # Its turn may never come, when it belongs to a thread whose loop does not run.
        while records := _almadia.take_records(wait=False):
            _show(records)

    def is_current(self) -> bool:
        """Whether this is the thread of the caller."""
        return self._thread is threading.current_thread()

    def _run(self) -> None:
        # Nobody sets it: its wait is a sleep that lets others run wherever a thread is none.
        never = threading.Event()
        while (records := _almadia.take_records(wait=True)) is None or records:
            if records is not None:
                _show(records)
                continue
            self._shares_thread = True
            never.wait(PAUSE_SECONDS)
            if self._ended:
                return


def _show(records: list[tuple[int, str, str]]) -> None:
    for level, target, message in records:
        target_logger = logging.getLogger(target.replace("::", "."))
        if target_logger.isEnabledFor(level):
            target_logger.log(level, "%s", message)


class Forwarder:
    """The reader of the records, and the number of stores that need it."""

    def __init__(self) -> None:
        self._process = os.getpid()
        # Reentrant, because a store may be garbage-collected while the lock is held.
        self._lock = threading.RLock()
        self._stores = 0
        self._reader: Reader | None = None
        self._ending: Reader | None = None

    def begin(self) -> None:
        """Counts one more open store."""
        with self._lock:
            # Counted first, because with gevent and eventlet others run while a thread starts.
            self._stores += 1
            if self._stores == 1:
                try:
                    self._start()
                except BaseException:
                    self._stores -= 1
                    raise

    def _start(self) -> None:
        # The previous reader must not take records meant for the next one, or it would never end.
        if self._ending and not self._ending.is_current():
            self._ending.finish()
        _almadia.capture_records(logger.isEnabledFor(TRACE))
        self._reader = Reader()
        try:
            self._reader.start()
        except RuntimeError as error:
            _almadia.release_records()
            self._reader = None
            message = f"the operating system reported an error ({error}; raise the limit on threads)"
            raise IoError(message, errno=errno.EAGAIN) from error

    def end(self) -> Reader | None:
        """Counts one open store less; after the last returns the reader, which ends after its last record."""
        if self._process != os.getpid():
            return None  # Inherited from the parent process: its locks may be held forever.
        with self._lock:
            self._stores -= 1
            if self._stores > 0:
                return None
            _almadia.release_records()
            self._ending, self._reader = self._reader, None
            if self._ending:
                self._ending.end()
            return self._ending

    def dismiss(self) -> None:
        """Ends the reader, even if stores still need it."""
        if self._process == os.getpid():
            _almadia.release_records()


forwarder = Forwarder()


def _start_anew_in_child() -> None:
    global forwarder
    forwarder = Forwarder()


os.register_at_fork(after_in_child=_start_anew_in_child)
