"""Settings that tests of downloads share: a server on this machine, and little patience."""

from contextlib import ExitStack

import pytest
from faulty_servers import Server
from tiny_source import CONTENT

from segkit.data.download import http


@pytest.fixture
def serve(monkeypatch):
    """`serve(*faults)`: a server that has the tiny dataset's archive."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(http, "TIMEOUT", (5, 0.4))
    monkeypatch.setattr(http, "WAITS", (0.01, 0.02))
    monkeypatch.setattr(http, "LONGEST_WAIT", 0.03)
    with ExitStack() as stack:
        yield lambda *faults: stack.enter_context(Server(CONTENT, *faults))
