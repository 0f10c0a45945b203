"""Almadia: a replicated, ordered key-value store that you link into your program."""

from ._almadia import VERSION as __version__
from ._almadia import Batch, Items, Position
from .errors import *  # noqa: F403 - every class of errors.__all__, of which a test compares the list.
from .status import Members, Option, OptionValue, RegionStatus, Status, options
from .store import BatchBlock, Level, Snapshot, Store, open  # noqa: A004
