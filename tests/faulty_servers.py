"""A real HTTP server on this machine whose answers go wrong, one after the other, and then are as they should be."""

import contextlib
import re
import socket
import struct
import threading
from collections import deque
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves `content` under any path. `faults` are functions of a handler, one for each of the first requests; others
    are served well."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, content, *faults):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.faults, self.version, self.modified = content, deque(faults), '"1"', None
        self.seen = []  # headers of each request
        self.sent = 0  # bytes of bodies
        self.closing = threading.Event()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Clients that go away are part of the tests."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/tiny.tar"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.close_connection = True
        self.server.seen.append(dict(self.headers) | {"path": self.path})
        fault = self.server.faults.popleft() if self.server.faults else well
        with contextlib.suppress(ConnectionError):
            fault(self)

    def log_message(self, *_):
        pass

    def begin(self, code, **headers):
        self.send_response(code)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, body):
        for start in range(0, len(body), 65_536):
            self.wfile.write(body[start : start + 65_536])
            self.server.sent += len(body[start : start + 65_536])


def well(handler, *, ranges=True, count=None, length=None, version=None):
    """The file, or the rest of it that is asked for; `count` bytes of that at most."""
    content, version = handler.server.content, version or handler.server.version
    headers = {"ETag": version, "Content_Type": "application/x-tar"}
    headers |= {"Last_Modified": handler.server.modified} if handler.server.modified else {}
    wanted = re.fullmatch("bytes=([0-9]+)-", handler.headers.get("Range", ""))
    if ranges and wanted and handler.headers.get("If-Range", version) in (version, handler.server.modified):
        start = int(wanted[1])
        if start >= len(content):
            return handler.begin(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
        headers |= {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        handler.begin(206, **headers, Content_Length=len(content) - start)
        return handler.send(content[start:][:count])
    handler.begin(200, **headers, Content_Length=length or len(content))
    return handler.send(content[:count])


def truncates(count):
    """Ends after so many bytes."""
    return partial(well, count=count)


def stalls(handler, count=200_000):
    """Sends so many bytes, then nothing, and keeps the connection."""
    well(handler, count=count)
    handler.server.closing.wait(60)


def drops(handler, count=300_000):
    """Resets the connection in the middle."""
    well(handler, count=count)
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def unsized(handler, count=None):
    """No length is announced; the end of the connection, after `count` bytes, is the end of the file. A range has the
    size of the whole."""
    content, start = handler.server.content, int(handler.headers.get("Range", "bytes=0-")[6:-1])
    size = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
    handler.begin(206 if start else 200, Content_Type="application/x-tar", **size)
    handler.send(content[start:][:count])


def slows(handler, count=400_000):
    """Sends so many bytes, then a few a second."""
    well(handler, count=count)
    while not handler.server.closing.wait(0.05):
        handler.send(b"x" * 100)


def endless(handler):
    """Never ends, and announces no size."""
    handler.begin(200, Content_Type="application/x-tar")
    while not handler.server.closing.is_set():
        handler.send(bytes(65_536))


def answers(code, **headers):
    """Only a status."""
    return lambda handler: handler.begin(code, Content_Length=0, **headers)


def page(handler):
    """A page instead of the file, with the status of success."""
    handler.begin(200, Content_Type="text/html; charset=utf-8", Content_Length=13)
    handler.send(b"<html></html>")
