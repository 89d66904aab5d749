"""What tests of archives and of fetching share."""

from contextlib import ExitStack

import pytest
from faulty_servers import Server
from tiny_source import CONTENT


@pytest.fixture
def serve(monkeypatch):
    """`serve(*faults)`: a server that has the tiny dataset's archive."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with ExitStack() as stack:
        yield lambda *faults: stack.enter_context(Server(CONTENT, *faults))


@pytest.fixture
def place(tmp_path):
    """Where an archive is unpacked: `place(content)` gives the archive's path and the folder to make."""

    def place(content):
        (tmp_path / "archive").write_bytes(content)
        return tmp_path / "archive", tmp_path / "target" / "root"

    return place
