"""A key-value service over HTTP that continues when a machine fails. Each of its processes is a member of the store.

    python kv_http.py DIRECTORY NUMBER HTTP_PORT 1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003

Every process answers every request, whoever leads; reads show every write that any process acknowledged before.

    curl -X PUT --data-binary red localhost:8001/kv/apple      204 once it is on the disks of a majority
    curl localhost:8002/kv/apple                               200 red; 404 if there is no such key
    curl -X DELETE localhost:8003/kv/apple                     204
    curl 'localhost:8001/kv?prefix=a'                          200 {"apple": "red"}, of one snapshot
    curl localhost:8001/status                                 200 the status of this member

An error tells whether the write took effect: 503 with Retry-After - certainly not, retry it, here or elsewhere; 504 -
it may have been applied: read the key before you retry. (A PUT of the same value may be retried either way.)
"""

import json
import signal
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

import almadia

VALUE_BYTES_MAX = 1 << 20
SHOWN_MAX = 1000

Answer = tuple[HTTPStatus, bytes]


class Service(ThreadingHTTPServer):
    """Answers requests from one store, which its threads use concurrently."""

    daemon_threads = True

    def __init__(self, port: int, store: almadia.Store) -> None:
        self.store = store
        super().__init__(("127.0.0.1", port), Request)


def answered(method: Callable[["Request"], Answer]) -> Callable[["Request"], None]:
    """Sends what a method returns, or its error as an HTTP status."""

    def answer(request: "Request") -> None:
        try:
            status, body = method(request)
        except KeyError:  # KeyNotFound is one.
            status, body = HTTPStatus.NOT_FOUND, b""
        except ValueError as error:  # So are all errors about arguments, such as a key that is too large.
            status, body = HTTPStatus.BAD_REQUEST, str(error).encode()
        except almadia.AlmadiaError as error:
            if error.outcome is almadia.Outcome.UNKNOWN:
                status, advice = HTTPStatus.GATEWAY_TIMEOUT, "It may have been applied: read the key, then decide."
            elif error.retryable or isinstance(error, almadia.ClosedError):
                status, advice = HTTPStatus.SERVICE_UNAVAILABLE, "Send it again, here or to another member."
            else:
                status, advice = HTTPStatus.INTERNAL_SERVER_ERROR, "Look at this member."
            body = f"{error}\n{advice}\n".encode()
        request.send(status, body)

    return answer


class Request(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Service

    @answered
    def do_GET(self) -> Answer:
        """The value of a key, the keys with a prefix, or the status."""
        url = urlsplit(self.path)
        if url.path == "/status":
            return HTTPStatus.OK, json.dumps(self.server.store.status()._asdict(), default=str).encode()
        if url.path != "/kv":
            return HTTPStatus.OK, self.server.store[self.key()]
        prefix = parse_qs(url.query).get("prefix", [""])[0].encode()
        with self.server.store.snapshot(prefix=prefix) as snapshot:
            found = {text(key): text(value) for key, value in snapshot.items(limit=SHOWN_MAX)}
        return HTTPStatus.OK, json.dumps(found).encode()

    @answered
    def do_PUT(self) -> Answer:
        """Sets a key to the body."""
        length = int(self.headers.get("Content-Length", 0))
        if not 0 <= length <= VALUE_BYTES_MAX:
            self.close_connection = True  # The body is left unread.
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b""
        value = self.rfile.read(length)
        self.server.store[self.key()] = value
        return HTTPStatus.NO_CONTENT, b""

    @answered
    def do_DELETE(self) -> Answer:
        """Removes a key."""
        del self.server.store[self.key()]
        return HTTPStatus.NO_CONTENT, b""

    def key(self) -> bytes:
        """The key in the path; any byte as %XX."""
        prefix, _, key = urlsplit(self.path).path.partition("/kv/")
        if prefix or not key:
            raise KeyError(self.path)
        return unquote_to_bytes(key)

    def send(self, status: HTTPStatus, body: bytes) -> None:
        """Sends the answer."""
        self.send_response(status)
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "1")
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing; override this to log a line per request."""


def text(stored: bytes) -> str:
    """Keys and values are bytes, JSON is text: bytes that are not UTF-8 are shown as hexadecimal."""
    return stored.decode(errors="backslashreplace")


def main() -> None:
    """Serves until SIGTERM."""
    directory, number, port, members = sys.argv[1:]
    with almadia.open(directory, node_id=int(number), initial_members=members, timeout=3) as store:
        service = Service(int(port), store)
        signal.signal(signal.SIGTERM, lambda *_: Thread(target=service.shutdown).start())
        print(f"member {number} serves http://127.0.0.1:{service.server_port}/", flush=True)
        service.serve_forever(poll_interval=0.1)
        service.server_close()


if __name__ == "__main__":
    main()
