"""The library's log, in `logging.getLogger("almadia")`.

One thread passes the records to `logging` while at least one store is open, so that no internal thread of a store ever
waits for a handler. Without a handler nothing is shown: a library does not write to a program's terminal.
"""

from __future__ import annotations

import logging
import os
import threading

from . import _almadia

logger = logging.getLogger("almadia")
logger.addHandler(logging.NullHandler())

TRACE = 5
"""The level below DEBUG: every raft message. Captured only if the logger is enabled for it when a store is opened."""

logging.addLevelName(TRACE, "TRACE")


class Forwarder:
    """The thread that passes records to `logging`, and the number of stores that need it."""

    def __init__(self) -> None:
        self._process = os.getpid()
        # Reentrant, because a store may be garbage-collected while the lock is held.
        self._lock = threading.RLock()
        self._stores = 0
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None

    def begin(self) -> None:
        """Counts one more open store."""
        with self._lock:
            if self._stores == 0:
                self._start()
            self._stores += 1

    def _start(self) -> None:
        # The previous thread must not take records meant for the next one, or it would never end.
        if self._ending and self._ending is not threading.current_thread():
            self._ending.join()
        _almadia.capture_records(logger.isEnabledFor(TRACE))
        self._thread = threading.Thread(target=_forward, name="almadia-logging", daemon=True)
        self._thread.start()

    def end(self) -> threading.Thread | None:
        """Counts one open store less; after the last returns the thread, which ends after its last record."""
        if self._process != os.getpid():
            return None  # Inherited from the parent process: its locks may be held forever.
        with self._lock:
            self._stores -= 1
            if self._stores > 0:
                return None
            _almadia.release_records()
            self._ending, self._thread = self._thread, None
            return self._ending

    def dismiss(self) -> None:
        """Ends the thread, even if stores still need it."""
        if self._process == os.getpid():
            _almadia.release_records()


def _forward() -> None:
    while records := _almadia.take_records():
        for level, target, message in records:
            target_logger = logging.getLogger(target.replace("::", "."))
            if target_logger.isEnabledFor(level):
                target_logger.log(level, "%s", message)


forwarder = Forwarder()


def _start_anew_in_child() -> None:
    global forwarder
    forwarder = Forwarder()


os.register_at_fork(after_in_child=_start_anew_in_child)
