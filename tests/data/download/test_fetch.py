"""A dataset is in its folder whole or not at all; what is there is left alone; archives of users are checked like
downloads."""

from dataclasses import replace

import pytest
from faulty_servers import answers, truncates
from tiny_source import CONTENT, FILE, IMAGES, SOURCE, images, left, packed, sha256_of, source_at

from segkit.data.download.fetch import fetch, is_there
from segkit.data.download.http import Show
from segkit.data.download.sources import SourceFile, content_digest
from segkit.errors import InputError, RunError

DAMAGED = CONTENT[: len(CONTENT) // 2] + bytes(len(CONTENT) - len(CONTENT) // 2)


@pytest.fixture
def archive(tmp_path):
    """The tiny dataset's archive, as a user has it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "renamed (1).tar").write_bytes(CONTENT)
    return tmp_path / "mine" / "renamed (1).tar"


def refusal(source, root, **options):
    with pytest.raises(InputError) as caught:
        fetch(source, root, **options)
    return str(caught.value)


def test_a_dataset_is_downloaded_checked_and_unpacked_once(serve, tmp_path):
    lines, server, root = [], serve(truncates(300_000)), tmp_path / "new" / "data"
    fetch(source_at(server.url), root, show=Show(lines.append))
    assert images(root) == IMAGES
    assert left(root) == ["kit"]
    assert left(root / "kit") == ["2012"]
    assert lines[-2:] == ["tiny.tar: SHA-256 as published", f"unpacking into {root / 'kit' / '2012'}"]
    (root / "kit" / "2012" / "images" / "0.jpg").write_bytes(b"mine")
    fetch(source_at(server.url), root)
    assert images(root) == IMAGES | {"0.jpg": b"mine"}
    assert len(server.seen) == 2
    assert is_there(SOURCE, root)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder.mkdir(), "images holds 0 files; expected 4"),
        (lambda folder: (folder / "images" / "a folder").mkdir(parents=True), "images holds 0 files; expected 4"),
        (lambda folder: folder.touch(), "it is not a folder"),
        (lambda folder: folder.symlink_to("nowhere"), "it is not a folder"),
    ],
)
def test_a_folder_that_is_not_complete_is_left_alone_and_said(serve, tmp_path, make, reason):
    server, folder = serve(), tmp_path / "kit" / "2012"
    folder.parent.mkdir()
    make(folder)
    assert refusal(source_at(server.url), tmp_path) == (
        f"{folder} exists, but is not all of tiny: {reason}. Rename or remove it, then repeat the command."
    )
    assert server.seen == []


def test_it_joins_what_is_in_the_folder_above(serve, tmp_path):
    (tmp_path / "kit" / "2007").mkdir(parents=True)
    (tmp_path / "kit" / "2007" / "x").write_bytes(b"mine")
    (tmp_path / "kit" / ".2012.partial" / "images").mkdir(parents=True)  # of a killed process
    fetch(source_at(serve().url), tmp_path)
    assert left(tmp_path / "kit") == ["2007", "2012"]
    assert (tmp_path / "kit" / "2007" / "x").read_bytes() == b"mine"


def test_an_archive_that_the_user_has_is_unpacked_and_stays(tmp_path, archive):
    fetch(SOURCE, tmp_path / "data", archives=[archive])
    assert images(tmp_path / "data") == IMAGES
    assert archive.read_bytes() == CONTENT
    assert left(tmp_path / "data") == ["kit"]


def test_a_wrong_archive_is_refused_with_what_was_found_and_expected(tmp_path, archive):
    source = source_at("http://127.0.0.1/tiny.tar")
    wrong = CONTENT[:-1] + b"!"
    archive.write_bytes(wrong)
    assert refusal(source, tmp_path / "data", archives=[archive]) == (
        f"--from-archive {archive} is not one of the files of tiny, or damaged: for tiny.tar, its SHA-256 is "
        f"{sha256_of(wrong)}; expected {FILE.sha256}. Download it again: http://127.0.0.1/tiny.tar"
    )
    archive.write_bytes(CONTENT[:-1])
    expected = f"for tiny.tar, it has {len(CONTENT) - 1} bytes; expected {len(CONTENT)}."
    assert expected in refusal(source, tmp_path / "data", archives=[archive])
    assert archive.exists()
    assert "is not a file. Check the path." in refusal(source, tmp_path / "data", archives=[tmp_path])
    assert left(tmp_path) == ["mine"]


def test_of_two_files_each_is_known_by_its_checksum_and_the_missing_one_downloaded(serve, tmp_path, archive):
    server = serve()
    server.content = text = b"1\n2\n"
    second = SourceFile("list.txt", server.url, sha256=sha256_of(text), goes_to="images/list.txt")
    source = replace(SOURCE, files=(FILE, second))
    (tmp_path / "mine" / "list").write_bytes(text)
    fetch(source, tmp_path / "both", archives=[tmp_path / "mine" / "list", archive])
    assert images(tmp_path / "both") == IMAGES | {"list.txt": text}
    assert server.seen == []
    fetch(source, tmp_path / "one", archives=[archive])
    assert images(tmp_path / "one") == IMAGES | {"list.txt": text}
    assert left(tmp_path / "one") == ["kit"]
    assert "not one of the files" in refusal(source, tmp_path / "twice", archives=[archive, archive])


@pytest.mark.parametrize("changes", [{"content": "0" * 64}, {"holds": {"images": 5}}, {"inside": "kit/2013"}])
def test_what_is_not_the_dataset_is_not_unpacked(serve, tmp_path, changes):
    server = serve()
    with pytest.raises(
        RunError, match=r"SHA-256 of its files is|images holds 4 files; expected 5|holds 0 of kit/2013; expected one"
    ):
        fetch(replace(source_at(server.url), **changes), tmp_path)
    assert left(tmp_path / "kit") == []
    server.faults.append(answers(404))
    fetch(source_at(server.url), tmp_path)  # the archive had the right checksum: it was kept
    assert len(server.seen) == 1
    assert images(tmp_path) == IMAGES


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_of_two_files_only_the_one_that_may_be_damaged_is_downloaded_again(serve, tmp_path, size):
    archive, second = serve(), serve()
    archive.content, second.content = DAMAGED, b"1\n2\n"
    text = SourceFile("list.txt", second.url, sha256=sha256_of(second.content), goes_to="list.txt")
    source = replace(SOURCE, files=(replace(FILE, url=archive.url, size=size, sha256=None), text))
    with pytest.raises(RunError, match="Fetch it again"):
        fetch(source, tmp_path)
    assert left(tmp_path) == [".list.txt", "kit"]
    archive.content = CONTENT
    fetch(source, tmp_path)
    assert images(tmp_path) == IMAGES
    assert (tmp_path / "kit" / "2012" / "list.txt").read_bytes() == second.content
    assert (len(archive.seen), len(second.seen)) == (2, 1)
    assert left(tmp_path) == ["kit"]


def test_the_content_is_what_counts_where_the_archive_is_packed_anew_each_time(serve, tmp_path):
    server = serve()
    fetch(source_at(server.url), tmp_path / "1")
    content = content_digest(tmp_path / "1" / "kit" / "2012")
    server.content = packed({f"repo-abc/2012/images/{name}": image for name, image in reversed(IMAGES.items())})
    source = source_at(server.url, size=None, sha256=None)
    fetch(replace(source, inside="*/2012", content=content), tmp_path / "2")
    assert images(tmp_path / "2") == IMAGES
