"""A dataset that is fetched is there whole or not at all, whatever the network does; what has come is not fetched
twice."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from faulty_servers import answers, drops, endless, stalls, truncates, unsized, well
from tiny_source import CONTENT, IMAGES, QUICK, failure, images, left, packed, sha256_of, source_at

from segkit.data.download.fetch import fetch
from segkit.data.download.http import Show

CHUNK = 65_536  # bytes that may be lost with a connection


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
    server = serve(stalls, stalls)
    patience = replace(QUICK, attempts=2)
    assert "nothing came for 0.4 s, 2 times. 0.4 MB of it are kept" in failure(
        source_at(server.url), tmp_path, patience=patience
    )
    url = server.url
    server.__exit__()
    assert "no connection (Connection refused), 3 times. 0.4 MB of it are kept" in failure(source_at(url), tmp_path)
    assert "no connection" in failure(source_at("http://nowhere.invalid/tiny.tar"), tmp_path)


def test_an_attempt_that_brought_a_megabyte_was_no_failure(serve, tmp_path):
    more = packed({f"kit/2012/images/{index}": IMAGES["0.jpg"] * 5 for index in range(4)})
    server = serve(*[truncates(1_200_000)] * 5)
    server.content = more
    fetch(
        source_at(server.url, most=len(more), size=len(more), digest=sha256_of(more)),
        tmp_path,
        patience=replace(QUICK, attempts=2),
    )
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


@pytest.mark.parametrize(
    ("code", "words"), [(404, "404 (Not Found)"), (403, "403 (Forbidden)"), (204, "204 (No Content)")]
)
def test_an_answer_that_will_not_change_ends_it_at_once(serve, tmp_path, code, words):
    server = serve(answers(code))
    assert f"it answers {words}. Fetch it otherwise" in failure(source_at(server.url), tmp_path)
    assert len(server.seen) == 1
    assert left(tmp_path) == []


def test_wrong_bytes_are_removed_and_both_checksums_shown(serve, tmp_path):
    server = serve()
    server.content = CONTENT[:-1] + b"!"
    message = failure(source_at(server.url), tmp_path)
    assert (
        f"its SHA-256 is {sha256_of(server.content).value}; expected {sha256_of(CONTENT).value}. It was removed."
        in message
    )
    assert left(tmp_path) == []
    assert len(server.seen) == 1


@pytest.mark.parametrize("known", [True, False])
def test_a_body_that_does_not_end_is_cut(serve, tmp_path, known):
    server = serve(endless)
    changes = {} if known else {"size": None, "most": 500_000, "digest": None}
    assert f"sends more than {len(CONTENT) if known else 500_000} bytes" in failure(
        source_at(server.url, **changes), tmp_path
    )
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


def test_what_has_come_whole_is_not_fetched_again(serve, tmp_path):
    server = serve()
    (tmp_path / ".tiny.tar.part").write_bytes(CONTENT)
    record = {"url": server.url, "etag": None, "modified": None, "size": len(CONTENT)}
    (tmp_path / ".tiny.tar.part.json").write_text(json.dumps(record))
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    assert server.seen == []
    assert images(tmp_path) == IMAGES


@pytest.mark.parametrize(("etag", "modified", "sent"), [
    ('"1"', "Fri, 31 Dec 2021 23:59:59 GMT", '"1"'),
    ('W/"1"', "Fri, 31 Dec 2021 23:59:59 GMT", "Fri, 31 Dec 2021 23:59:59 GMT"),
    ('W/"1"', None, None),
])  # fmt: skip
def test_only_a_strong_version_is_said_to_be_here(serve, tmp_path, etag, modified, sent):
    server = serve(truncates(300_000))
    server.version, server.modified = etag, modified
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    assert server.seen[1].get("If-Range") == sent
    assert len(CONTENT) <= server.sent <= len(CONTENT) + CHUNK
    assert images(tmp_path) == IMAGES


def test_an_answer_without_a_length_that_is_cut_short_is_gone_on_with(serve, tmp_path):
    lines = []
    server = serve(partial(unsized, count=300_000), partial(unsized, count=200_000))
    fetch(source_at(server.url), tmp_path / "known", show=Show(lines.append), patience=QUICK)
    assert [line for line in lines if "again" in line] == [
        f"tiny.tar: the connection ended after {count} MB of 1.2 MB; again in 0 s" for count in (0.3, 0.5)
    ]
    assert [request.get("Range") for request in server.seen] == [None, "bytes=300000-", "bytes=500000-"]
    assert server.sent == len(CONTENT)
    server.faults.extend([truncates(300_000), partial(unsized, count=100_000)])
    fetch(source_at(server.url, size=None, digest=None), tmp_path / "unknown", patience=QUICK)
    assert images(tmp_path / "known") == images(tmp_path / "unknown") == IMAGES


@pytest.mark.parametrize(("start", "size"), [(10, len(CONTENT)), (None, len(CONTENT) + 1)])
def test_other_bytes_than_asked_for_are_not_put_behind_those_that_are_here(serve, tmp_path, start, size):
    def other(handler):
        first = int(handler.headers["Range"][6:-1]) if start is None else start
        handler.begin(206, Content_Range=f"bytes {first}-{size - 1}/{size}", Content_Length=size - first)
        handler.send(bytes(size - first))

    lines = []
    server = serve(truncates(300_000), other)
    fetch(source_at(server.url), tmp_path, show=Show(lines.append), patience=QUICK)
    assert "tiny.tar: the file has changed there since its first part came, and is fetched anew; again in 0 s" in lines
    assert "Range" not in server.seen[2]
    assert images(tmp_path) == IMAGES


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("recorded", [True, False])
def test_nothing_is_written_through_a_link(serve, tmp_path, link, recorded):
    root, victim, server = tmp_path / "root", tmp_path / "victim", serve(*[answers(503)] * 3)
    root.mkdir()
    victim.write_bytes(CONTENT[:300_000])
    link(root / ".tiny.tar.part", victim)
    if recorded:
        record = {"url": server.url, "etag": '"1"', "modified": None, "size": len(CONTENT)}
        (root / ".tiny.tar.part.json").write_text(json.dumps(record))
    assert "3 times. Fetch it otherwise" in failure(source_at(server.url), root)  # none of it is kept
    fetch(source_at(server.url), root, patience=QUICK)
    assert "Range" not in server.seen[0]
    assert images(root) == IMAGES
    assert victim.read_bytes() == CONTENT[:300_000]


@pytest.mark.parametrize("count", [0, 300_000])
def test_nothing_is_written_through_a_link_that_is_made_meanwhile(serve, tmp_path, count):
    root, victim = tmp_path / "root", tmp_path / "victim"
    part = root / ".tiny.tar.part"
    victim.write_bytes(CONTENT[:300_000])

    def links(handler):
        part.unlink(missing_ok=True)
        part.symlink_to(victim)
        well(handler)

    source = source_at(serve(*[truncates(count)] * (count > 0), links).url)
    if count:
        with pytest.raises(OSError, match=re.escape(str(part))):
            fetch(source, root, patience=QUICK)
    else:
        fetch(source, root, patience=QUICK)
        assert images(root) == IMAGES
    assert victim.read_bytes() == CONTENT[:300_000]
