"""A dataset that is fetched is there whole or not at all, whatever the network does; what has come is not fetched twice."""

import json
import shutil
import ssl
import subprocess
from dataclasses import replace
from functools import partial

import pytest
from faulty_servers import answers, drops, endless, login, stalls, truncates, unsized, well
from tiny_source import CONTENT, IMAGES, QUICK, images, left, packed, sha256_of, source_at

from segkit.data.download import Show
from segkit.data.fetch import fetch
from segkit.errors import RunError

CHUNK = 65_536  # bytes that may be lost with a connection


def failure(source, root, **options):
    with pytest.raises(RunError) as caught:
        fetch(source, root, patience=QUICK, **options)
    assert not (root / "kit").exists()
    return str(caught.value)


def test_a_dataset_is_fetched_checked_and_unpacked(serve, tmp_path):
    lines = []
    server = serve()
    fetch(source_at(server.url), tmp_path / "new" / "data", show=Show(lines.append), patience=QUICK)
    assert images(tmp_path / "new" / "data") == IMAGES
    assert left(tmp_path / "new" / "data") == ["kit"]
    assert left(tmp_path / "new" / "data" / "kit") == ["2012"]
    assert server.seen[0]["Accept-Encoding"] == "identity"
    assert lines == [
        f"tiny.tar: {len(CONTENT) / 1e6:.1f} MB from {server.url}", "tiny.tar: SHA-256 as published",
        f"unpacking into {tmp_path / 'new' / 'data' / 'kit' / '2012'}",
    ]  # fmt: skip


def test_every_byte_is_fetched_once_over_connections_that_break(serve, tmp_path):
    lines = []
    server = serve(truncates(300_000), drops, stalls, truncates(100_000))
    patience = replace(QUICK, attempts=6)
    fetch(source_at(server.url), tmp_path, show=Show(lines.append), patience=patience)
    assert images(tmp_path) == IMAGES
    assert len(server.seen) == 5
    assert all(request["If-Range"] == '"1"' for request in server.seen[1:])
    starts = [int(request["Range"].removeprefix("bytes=").removesuffix("-")) for request in server.seen[1:]]
    assert starts == sorted(starts)
    assert starts[0] > 300_000 - CHUNK
    assert server.sent <= len(CONTENT) + 4 * CHUNK
    assert any("nothing came for 0.4 s; again in" in line for line in lines)
    assert f"of which {starts[0] / 1e6:,.1f} MB are here" in "".join(lines)


def test_attempts_end_and_a_later_call_goes_on(serve, tmp_path):
    server = serve(truncates(300_000), *[answers(503)] * 9)
    message = failure(source_at(server.url), tmp_path)
    part = (tmp_path / ".tiny.tar.part").stat().st_size
    assert message == (
        f"tiny.tar cannot be fetched from {server.url}: it answers 503 (Service Unavailable), 3 times. {part / 1e6:.1f} MB of it are kept: "
        "the same command goes on. Fetch it otherwise, and give it as --from-archive FILE."
    )
    server.faults.clear()
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    assert server.seen[-1]["Range"] == f"bytes={part}-"
    assert images(tmp_path) == IMAGES
    assert left(tmp_path) == ["kit"]


def test_a_server_that_is_gone_or_stalls_for_ever_ends_in_one_message(serve, tmp_path):
    server = serve(*[stalls] * 3)
    assert "nothing came for 0.4 s, 3 times. 0.6 MB of it are kept" in failure(source_at(server.url), tmp_path)
    url = server.url
    server.__exit__()
    assert "no connection (Connection refused), 3 times. 0.6 MB of it are kept" in failure(source_at(url), tmp_path)
    assert "no connection" in failure(source_at("http://nowhere.invalid/tiny.tar"), tmp_path)


def test_an_attempt_that_brought_a_megabyte_was_no_failure(serve, tmp_path):
    more = packed({f"kit/2012/images/{index}": IMAGES["0.jpg"] * 5 for index in range(4)})
    server = serve(*[truncates(1_200_000)] * 5)
    server.content = more
    fetch(source_at(server.url, most=len(more), size=len(more), digest=sha256_of(more)), tmp_path, patience=replace(QUICK, attempts=2))
    assert len(server.seen) == 6
    assert len(images(tmp_path)) == 4


@pytest.mark.parametrize("faults", [
    [truncates(300_000), partial(well, ranges=False)],  # ignores Range
    [truncates(300_000), answers(416)],
    [truncates(300_000), partial(well, version='"2"')],  # If-Range tells of a new version
    [partial(well, version='W/"1"', count=300_000), partial(well, version='W/"2"')],  # a weak version is no If-Range
], ids=["ignores", "416", "changed", "weak"])  # fmt: skip
def test_what_cannot_be_gone_on_with_is_fetched_anew(serve, tmp_path, faults):
    server = serve(*faults)
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    assert images(tmp_path) == IMAGES
    assert "Range" in server.seen[1]
    assert server.sent > len(CONTENT) + 200_000


def test_a_file_that_was_replaced_between_two_calls_is_fetched_anew(serve, tmp_path):
    server = serve(truncates(300_000), *[answers(500)] * 2)
    failure(source_at(server.url), tmp_path)
    server.content, server.version = CONTENT[::-1], '"2"'
    assert "its SHA-256 is" in failure(source_at(server.url), tmp_path)  # all of it is of one version, the new one
    server.content, server.version = CONTENT, '"1"'
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    assert images(tmp_path) == IMAGES


@pytest.mark.parametrize("record", [b"", b"{}", b"[1]", b'{"url": 1}', b"\xff"])
def test_a_part_whose_record_is_damaged_is_fetched_anew(serve, tmp_path, record):
    server = serve()
    (tmp_path / ".tiny.tar.part").write_bytes(b"x" * 1000)
    (tmp_path / ".tiny.tar.part.json").write_bytes(record)
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    assert "Range" not in server.seen[0]
    assert images(tmp_path) == IMAGES


def test_a_busy_server_is_asked_again_and_what_it_asks_for_is_bounded(serve, tmp_path):
    lines = []
    server = serve(answers(503, Retry_After="20"), answers(429, Retry_After="Fri, 31 Dec 2027 23:59:59 GMT"))
    fetch(source_at(server.url), tmp_path, show=Show(lines.append), patience=QUICK)
    assert lines[:2] == [
        "tiny.tar: it answers 503 (Service Unavailable); again in 0 s", "tiny.tar: it answers 429 (Too Many Requests); again in 0 s",
    ]  # fmt: skip
    assert images(tmp_path) == IMAGES


@pytest.mark.parametrize(("code", "words"), [(404, "404 (Not Found)"), (403, "403 (Forbidden)"), (204, "204 (No Content)")])
def test_an_answer_that_will_not_change_ends_it_at_once(serve, tmp_path, code, words):
    server = serve(answers(code))
    assert f"it answers {words}. Fetch it otherwise" in failure(source_at(server.url), tmp_path)
    assert len(server.seen) == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_page_instead_of_the_file_is_named_and_costs_nothing(serve, tmp_path, kind):
    server = serve(truncates(300_000), *[answers(500)] * 2)
    failure(source_at(server.url), tmp_path)
    part = (tmp_path / ".tiny.tar.part").read_bytes()
    server.faults.extend([partial(login, kind=kind)] * 2)
    message = failure(source_at(server.url), tmp_path)
    assert (tmp_path / ".tiny.tar.part").read_bytes() == part
    address = server.url.replace("tiny.tar", "login")
    assert message.startswith(f"{address} answers with a web page ('Hotel Wi-Fi') instead of tiny.tar: a login, an error, or a page of")
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    assert images(tmp_path) == IMAGES


def test_wrong_bytes_are_removed_and_both_checksums_shown(serve, tmp_path):
    server = serve()
    server.content = CONTENT[:-1] + b"!"
    message = failure(source_at(server.url), tmp_path)
    assert f"its SHA-256 is {sha256_of(server.content).value}; expected {sha256_of(CONTENT).value}. It was removed." in message
    assert left(tmp_path) == []
    assert len(server.seen) == 1


@pytest.mark.parametrize("known", [True, False])
def test_a_body_that_does_not_end_is_cut(serve, tmp_path, known):
    server = serve(endless)
    changes = {} if known else {"size": None, "most": 500_000, "digest": None}
    assert f"sends more than {len(CONTENT) if known else 500_000} bytes" in failure(source_at(server.url, **changes), tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize(("changes", "expected"), [({}, ""), ({"size": None, "most": 10}, "at most ")])
def test_another_size_than_published_ends_it_before_anything_is_fetched(serve, tmp_path, changes, expected):
    server = serve(partial(well, length=len(CONTENT) + 1, count=100))
    message = failure(source_at(server.url, **changes), tmp_path)
    expected += str(changes.get("most", len(CONTENT)))
    assert f"announces {len(CONTENT) + 1} bytes for tiny.tar; expected {expected}. Nothing was fetched." in message
    assert left(tmp_path) == []


def test_a_file_of_unknown_size_ends_with_its_connection(serve, tmp_path):
    server = serve(unsized)
    fetch(source_at(server.url, size=None), tmp_path, patience=QUICK)
    assert images(tmp_path) == IMAGES


def test_too_little_space_for_the_archive_and_what_is_in_it_ends_it_first(serve, tmp_path):
    server = serve()
    message = failure(replace(source_at(server.url), unpacked=10**16), tmp_path)
    assert message.startswith("disk full: 10,000,000,001.2 MB needed, ")
    assert left(tmp_path) == []


def test_redirections_are_followed_but_not_for_ever_nor_anywhere(serve, tmp_path):
    server = serve()
    server.faults.append(answers(301, Location="/elsewhere"))
    fetch(source_at(server.url), tmp_path / "1", patience=QUICK)
    assert [request["path"] for request in server.seen] == ["/tiny.tar", "/elsewhere"]
    server.faults.extend([answers(302, Location="/tiny.tar")] * 9)
    assert "leads from one address to the next, more than 5 times" in failure(source_at(server.url), tmp_path / "2")
    server.faults.clear()
    server.faults.append(answers(302, Location="file:///etc/passwd"))
    message = failure(source_at(server.url), tmp_path / "3")
    assert "leads to file:///etc/passwd; expected an address with http or https" in message


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_https_is_neither_unverified_nor_left(serve, tmp_path, monkeypatch):
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")]
    subprocess.run(["openssl", "req", "-x509", *key, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    plain, safe = serve(), serve()
    safe.socket = context.wrap_socket(safe.socket, server_side=True)
    url = safe.url.replace("http://127.0.0.1", "https://localhost")
    assert "its certificate cannot be verified, 3 times" in failure(source_at(url), tmp_path / "1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate"))
    safe.faults.append(answers(302, Location=plain.url))
    assert f"{url} leads to {plain.url}, which is not encrypted; it was not followed." in failure(source_at(url), tmp_path / "2")
    assert plain.seen == []
    fetch(source_at(url), tmp_path / "3", patience=QUICK)
    assert images(tmp_path / "3") == IMAGES


def test_what_has_come_whole_is_not_fetched_again(serve, tmp_path):
    server = serve()
    (tmp_path / ".tiny.tar.part").write_bytes(CONTENT)
    record = {"url": server.url, "etag": None, "modified": None, "size": len(CONTENT)}
    (tmp_path / ".tiny.tar.part.json").write_text(json.dumps(record))
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    assert server.seen == []
    assert images(tmp_path) == IMAGES
