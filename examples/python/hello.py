"""Opens a store of one member, puts, gets and closes.    python hello.py [DIRECTORY]"""

import sys

import almadia


def main() -> None:
    """Prints hello."""
    path = sys.argv[1] if len(sys.argv) > 1 else "hello-store"
    with almadia.open(path) as store:
        store[b"greeting"] = b"hello, world"
        print(store[b"greeting"].decode())


if __name__ == "__main__":
    main()
