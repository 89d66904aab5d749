"""A file that is downloaded is whole or not there, whatever the network does; no byte comes twice; nothing that a
server says is taken on trust."""

import resource
import shutil
import ssl
import subprocess
from dataclasses import replace
from functools import partial

import pytest
from faulty_servers import answers, drops, endless, page, stalls, truncates, unsized, well
from tiny_source import CONTENT, FILE, left

from segkit.data.download import http
from segkit.data.download.http import Show, download
from segkit.errors import RunError

CHUNK = 65_536  # bytes that may be lost with a connection


def downloaded(url, root, lines=None, *, unpacked=0, **changes):
    """The bytes of the tiny dataset's file, from an address."""
    show = Show() if lines is None else Show(lines.append)
    download(replace(FILE, url=url, **changes), root / "tiny.tar", unpacked=unpacked, show=show)
    assert left(root) == ["tiny.tar"]
    return (root / "tiny.tar").read_bytes()


def failure(url, root, **changes):
    """The message about a file that cannot be downloaded, with URL in place of its address."""
    with pytest.raises(RunError) as caught:
        downloaded(url, root, **changes)
    assert not (root / "tiny.tar").exists()
    return str(caught.value).replace(url, "URL")


@pytest.fixture
def root(tmp_path):
    """The folder to download to."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


# --- connections that break ---


def test_every_byte_comes_once_over_connections_that_break(serve, root, monkeypatch):
    lines = []
    server = serve(truncates(300_000), drops, stalls, truncates(100_000))
    monkeypatch.setattr(http, "WAITS", (0.01,) * 5)
    assert downloaded(server.url, root, lines) == CONTENT
    assert server.seen[0]["Accept-Encoding"] == "identity"
    assert all(request["If-Range"] == '"1"' for request in server.seen[1:])
    starts = [int(request["Range"].removeprefix("bytes=").removesuffix("-")) for request in server.seen[1:]]
    assert len(starts) == 4
    assert starts == sorted(starts)
    assert starts[0] > 300_000 - CHUNK
    assert server.sent <= len(CONTENT) + 4 * CHUNK
    assert "tiny.tar: nothing came for 0.4 s; next attempt in 0 s" in lines
    assert lines[0] == f"tiny.tar: {len(CONTENT) / 1e6:.1f} MB from {server.url}"
    assert lines[2] == f"{lines[0]}, of which {starts[0] / 1e6:,.1f} MB are here"


def test_attempts_end_and_a_later_call_resumes(serve, root, message):
    server = serve(truncates(300_000), *[answers(503)] * 9)
    text = failure(server.url, root)
    part = (root / "tiny.tar.part").stat().st_size
    message(text, "tiny.tar", "URL", 503, f"{part / 1e6:.1f}")
    server.faults.clear()
    assert downloaded(server.url, root) == CONTENT
    assert server.seen[-1]["Range"] == f"bytes={part}-"


def test_a_server_that_stalls_or_is_gone_or_was_never_there_is_named(serve, root, message):
    server = serve(*[stalls] * 3)
    message(failure(server.url, root), "URL", "0.4 s", "0.6 MB")
    server.__exit__()
    message(failure(server.url, root), "URL", "0.6 MB")
    assert "no connection" in failure("http://nowhere.invalid/tiny.tar", root)
    message(failure(serve().url.replace("http", "https"), root), "URL", "0.6 MB")


def test_an_attempt_that_brought_a_megabyte_was_no_failure(serve, root):
    content = bytes(6_000_000)
    server = serve(*[truncates(1_200_000)] * 4)
    server.content = content
    assert downloaded(server.url, root, size=len(content), sha256=None) == content
    assert len(server.seen) == 5


@pytest.mark.parametrize(
    "fault", [answers(500), answers(503, Retry_After="20"), answers(429, Retry_After="Fri, 31 Dec 2027 23:59:59 GMT")]
)
def test_a_busy_server_is_asked_again_and_what_it_asks_for_is_bounded(serve, root, fault):
    lines = []
    assert downloaded(serve(fault, fault).url, root, lines) == CONTENT
    assert lines[0].startswith("tiny.tar: the server answers ")
    assert lines[0].endswith("; next attempt in 0 s")


def test_a_file_without_an_announced_size_ends_with_its_connection(serve, root, message):
    lines = []
    server = serve(partial(unsized, count=300_000), unsized)
    assert downloaded(server.url, root, lines, sha256=None) == CONTENT
    message(lines[1], "tiny.tar", "0.3 MB", "1.2 MB")
    (root / "tiny.tar").unlink()
    server.faults.append(unsized)
    assert downloaded(server.url, root, size=None) == CONTENT


# --- resuming ---


@pytest.mark.parametrize(("etag", "modified", "version"), [
    ('"1"', "Fri, 31 Dec 2021 23:59:59 GMT", '"1"'),
    ('W/"1"', "Fri, 31 Dec 2021 23:59:59 GMT", "Fri, 31 Dec 2021 23:59:59 GMT"),
    ('W/"1"', None, None),
])  # fmt: skip
def test_only_a_version_that_stands_for_every_byte_is_resumed(serve, root, etag, modified, version):
    server = serve(truncates(300_000))
    server.version, server.modified = etag, modified
    assert downloaded(server.url, root) == CONTENT
    assert server.seen[1].get("If-Range") == version
    assert ("Range" in server.seen[1]) == (version is not None)


def other_bytes(handler):
    handler.begin(206, Content_Range=f"bytes 10-{len(CONTENT) - 1}/{len(CONTENT)}", Content_Length=len(CONTENT) - 10)
    handler.send(bytes(len(CONTENT) - 10))


@pytest.mark.parametrize(
    "fault", [partial(well, ranges=False), partial(well, version='"2"'), answers(416), other_bytes],
    ids=["no ranges", "changed", "416", "other bytes"],
)  # fmt: skip
def test_what_cannot_be_resumed_is_downloaded_anew(serve, root, fault):
    server = serve(truncates(300_000), fault)
    assert downloaded(server.url, root) == CONTENT
    assert "Range" in server.seen[1]
    assert server.sent > len(CONTENT) + 200_000


@pytest.mark.parametrize("version", [None, b"", b"\xff", b"a\r\nb"])
def test_a_part_without_a_known_version_is_downloaded_anew(serve, root, version):
    server = serve()
    (root / "tiny.tar.part").write_bytes(b"x" * 1000)
    if version is not None:
        (root / "tiny.tar.version").write_bytes(version)
    assert downloaded(server.url, root) == CONTENT
    assert "Range" not in server.seen[0]


def test_what_is_whole_is_not_downloaded_but_checked(serve, root, message):
    server = serve()
    (root / "tiny.tar").write_bytes(CONTENT)
    assert downloaded(server.url, root) == CONTENT
    (root / "tiny.tar").write_bytes(CONTENT[:-1])
    message(failure(server.url, root), "URL", len(CONTENT) - 1, len(CONTENT))
    assert server.seen == []


# --- what is wrong ---


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (answers(404), "answers 404 (Not Found). Or download it"),
        (answers(403), "answers 403 (Forbidden). Or download it"),
        (answers(299), "answers 299. Or download it"),
        (page, "is a web page instead of tiny.tar: a login, an error, or a page of this network. Open it"),
        (answers(302, Location="file:///etc/passwd"), "a redirect leaves https or the web (No connection adapters"),
        (answers(302, Location="http://[::1\x1b[31m"), "cannot be downloaded from"),
        (answers(302, Location="/\xff"), "cannot be downloaded from"),
        (partial(well, ranges=False, length="9" * 5000), "cannot be downloaded from"),
        (partial(well, ranges=False, length=len(CONTENT) + 1), f"bytes for tiny.tar; expected {len(CONTENT)}. Nothing"),
    ],
)
def test_an_answer_that_will_not_change_ends_it_at_once_and_what_is_here_stays(serve, root, fault, words):
    server = serve(truncates(300_000), fault)
    message = failure(server.url, root)
    assert words in message
    assert message.isprintable()
    assert len(server.seen) == 2
    assert downloaded(server.url, root) == CONTENT
    assert "Range" in server.seen[2]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_https_is_neither_unverified_nor_left(serve, root, tmp_path, monkeypatch, message):
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")]
    subprocess.run(["openssl", "req", "-x509", *key, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    plain, safe = serve(), serve()
    safe.socket = context.wrap_socket(safe.socket, server_side=True)
    url = safe.url.replace("http://127.0.0.1", "https://localhost")
    message(failure(url, root), "URL")  # once
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate"))
    for start, target in ((url, plain.url), (url.replace("https", "HTTPS"), plain.url.replace("http", "HTTP"))):
        safe.faults.append(answers(302, Location=target))
        message(failure(start, root), "URL", plain.url)
    assert plain.seen == []
    assert downloaded(url, root) == CONTENT


def test_wrong_bytes_are_removed_and_both_checksums_shown(serve, root, message):
    server = serve()
    server.content = CONTENT[:-1] + b"!"
    message(failure(server.url, root), "tiny.tar", "URL", FILE.sha256)
    assert left(root) == []
    assert len(server.seen) == 1


@pytest.mark.parametrize(("changes", "most"), [({}, len(CONTENT)), ({"size": None, "largest": 500_000}, 500_000)])
def test_a_body_that_does_not_end_is_cut(serve, root, changes, most, message):
    message(failure(serve(endless).url, root, **changes), "URL", most, "tiny.tar")
    message(failure(serve().url, root, size=None, largest=10), "URL", len(CONTENT), "tiny.tar", 10)
    assert left(root) == []


# --- the disk ---


def test_too_little_space_for_the_archive_and_what_is_in_it_ends_it_first(serve, root):
    assert failure(serve().url, root, unpacked=10**16).startswith("disk full: 10,000,000,001.2 MB needed, ")
    assert left(root) == []


def test_a_disk_that_takes_no_more_is_named_and_what_has_arrived_is_resumed(serve, root, message):
    server, limits = serve(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        text = failure(server.url, root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message(text, root / "tiny.tar.part")
    assert downloaded(server.url, root) == CONTENT
    assert server.seen[1]["Range"] == "bytes=300000-"
