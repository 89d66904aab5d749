"""What is there already is left alone; archives that a user has are checked like those that are fetched."""

from dataclasses import replace
from pathlib import Path

import pytest
from faulty_servers import answers
from tiny_source import CONTENT, FILE, IMAGES, QUICK, SOURCE, images, left, packed, sha256_of, source_at

from segkit.data.datasets.voc import voc
from segkit.data.download.fetch import fetch, is_there
from segkit.data.download.sources import SOURCES, SourceFile, content_digest
from segkit.errors import InputError, RunError

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def archive(tmp_path):
    """The tiny dataset's archive, as a user has it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "renamed (1).tar").write_bytes(CONTENT)
    return tmp_path / "mine" / "renamed (1).tar"


def refusal(source, root, **options):
    with pytest.raises(InputError) as caught:
        fetch(source, root, patience=QUICK, **options)
    return str(caught.value)


def test_what_is_there_is_not_fetched(serve, tmp_path):
    server = serve()
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    changed = tmp_path / "kit" / "2012" / "images" / "0.jpg"
    changed.write_bytes(b"mine")
    fetch(source_at(server.url), tmp_path, patience=QUICK)
    assert changed.read_bytes() == b"mine"
    assert len(server.seen) == 1
    assert is_there(SOURCE, tmp_path)


@pytest.mark.parametrize("make", ["empty", "some", "file", "link"])
def test_a_folder_that_is_not_complete_is_left_alone_and_said(serve, tmp_path, make):
    server, folder = serve(), tmp_path / "kit" / "2012"
    folder.parent.mkdir()
    reason = "images holds 0 files; expected 4"
    if make == "file":
        folder.touch()
        reason = "it is no folder"
    elif make == "link":
        folder.symlink_to(tmp_path / "nowhere")
        reason = "it is no folder"
    else:
        folder.mkdir()
    if make == "some":
        (folder / "images").mkdir()
        (folder / "images" / "0.jpg").touch()
        reason = "images holds 1 files; expected 4"
    assert refusal(source_at(server.url), tmp_path) == (
        f"{folder} exists, but is not all of tiny: {reason}. Rename or remove it, then repeat the command."
    )
    assert server.seen == []


def test_it_joins_what_is_in_the_folder_above(serve, tmp_path):
    (tmp_path / "kit" / "2007").mkdir(parents=True)
    (tmp_path / "kit" / "2007" / "x").write_bytes(b"mine")
    (tmp_path / "kit" / ".2012.123.partial" / "images").mkdir(parents=True)  # of a killed process
    fetch(source_at(serve().url), tmp_path, patience=QUICK)
    assert left(tmp_path / "kit") == ["2007", "2012"]
    assert (tmp_path / "kit" / "2007" / "x").read_bytes() == b"mine"


def test_an_archive_that_the_user_has_is_unpacked_and_stays(tmp_path, archive):
    fetch(SOURCE, tmp_path / "data", archives=[archive])
    assert images(tmp_path / "data") == IMAGES
    assert archive.read_bytes() == CONTENT
    assert left(tmp_path / "data") == ["kit"]


def test_a_wrong_archive_is_refused_with_both_checksums(tmp_path, archive):
    source = source_at("http://127.0.0.1/tiny.tar")
    wrong = CONTENT[:-1] + b"!"
    archive.write_bytes(wrong)
    assert refusal(source, tmp_path / "data", archives=[archive]) == (
        f"--from-archive {archive} is not one of the files of tiny, or damaged: expected tiny.tar with SHA-256 {sha256_of(CONTENT).value}, "
        f"found {sha256_of(wrong).value}. Fetch it again: http://127.0.0.1/tiny.tar"
    )
    archive.write_bytes(CONTENT[:-1])
    expected = f"expected tiny.tar of {len(CONTENT)} bytes, found {len(CONTENT) - 1} bytes"
    assert expected in refusal(source, tmp_path / "data", archives=[archive])
    assert archive.exists()
    assert "is no file. Check the path." in refusal(source, tmp_path / "data", archives=[tmp_path])


def test_of_two_files_each_is_known_by_its_checksum_and_the_missing_one_fetched(serve, tmp_path, archive):
    server = serve()
    server.content = text = b"1\n2\n"
    second = SourceFile("list.txt", server.url, most=100, digest=sha256_of(text), goes_to="images/list.txt")
    source = replace(SOURCE, files=(FILE, second))
    (tmp_path / "mine" / "list").write_bytes(text)
    fetch(source, tmp_path / "both", archives=[tmp_path / "mine" / "list", archive])
    assert images(tmp_path / "both") == IMAGES | {"list.txt": text}
    assert server.seen == []
    fetch(source, tmp_path / "one", archives=[archive], patience=QUICK)
    assert images(tmp_path / "one") == IMAGES | {"list.txt": text}
    assert left(tmp_path / "one") == ["kit"]
    assert "not one of the files" in refusal(source, tmp_path / "twice", archives=[archive, archive])


@pytest.mark.parametrize("changes", [{"content": "0" * 64}, {"holds": {"images": 5}}, {"inside": "kit/2013"}])
def test_what_is_not_the_dataset_is_not_unpacked(serve, tmp_path, changes):
    server = serve()
    with pytest.raises(
        RunError, match=r"SHA-256 of its files is|images holds 4 files; expected 5|nothing in a folder kit/2013"
    ):
        fetch(replace(source_at(server.url), **changes), tmp_path, patience=QUICK)
    assert left(tmp_path / "kit") == []
    server.faults.append(answers(404))
    fetch(source_at(server.url), tmp_path, patience=QUICK)  # the archive had the right checksum: it was kept
    assert len(server.seen) == 1
    assert images(tmp_path) == IMAGES


@pytest.mark.parametrize("digest", [None, replace(sha256_of(CONTENT[:1000]), first=1000)])
def test_a_damaged_archive_that_no_checksum_covers_is_fetched_anew(serve, tmp_path, digest):
    server, source = serve(), source_at("", digest=digest)
    source = replace(source, files=(replace(source.files[0], url=server.url),))
    server.content = CONTENT[: len(CONTENT) // 2] + bytes(len(CONTENT) - len(CONTENT) // 2)
    with pytest.raises(RunError, match="Fetch it again"):
        fetch(source, tmp_path, patience=QUICK)
    assert left(tmp_path) == ["kit"]
    server.content = CONTENT
    fetch(source, tmp_path, patience=QUICK)
    assert images(tmp_path) == IMAGES


def test_of_two_files_only_the_one_that_may_be_wrong_is_fetched_again(serve, tmp_path):
    archive, second = serve(), serve()
    archive.content, second.content = CONTENT[: len(CONTENT) // 2] + bytes(len(CONTENT) - len(CONTENT) // 2), b"1\n2\n"
    text = SourceFile("list.txt", second.url, most=100, digest=sha256_of(second.content), goes_to="list.txt")
    source = replace(SOURCE, files=(replace(FILE, url=archive.url, digest=None), text))
    with pytest.raises(RunError, match="Fetch it again"):
        fetch(source, tmp_path, patience=QUICK)
    assert left(tmp_path) == [".list.txt.part", ".list.txt.part.json", "kit"]
    archive.content = CONTENT
    fetch(source, tmp_path, patience=QUICK)
    assert images(tmp_path) == IMAGES
    assert (tmp_path / "kit" / "2012" / "list.txt").read_bytes() == second.content
    assert (len(archive.seen), len(second.seen)) == (2, 1)
    assert left(tmp_path) == ["kit"]


def test_the_content_is_what_counts_where_the_archive_is_packed_anew_each_time(serve, tmp_path):
    server = serve()
    fetch(source_at(server.url), tmp_path / "1", patience=QUICK)
    content = content_digest(tmp_path / "1" / "kit" / "2012")
    server.content = packed({f"repo-abc/2012/images/{name}": image for name, image in reversed(IMAGES.items())})
    source = source_at(server.url, size=None, digest=None, most=2_000_000)
    fetch(replace(source, inside="*/2012", content=content), tmp_path / "2", patience=QUICK)
    assert images(tmp_path / "2") == IMAGES


def test_real_images_of_voc_are_unpacked_where_configs_look_for_them(tmp_path):
    places = [each / "VOCdevkit" / "VOC2012" for each in (REPOSITORY / "data", REPOSITORY.parent / "shared" / "data")]
    here = next((each for each in places if each.is_dir()), None)
    if here is None:
        pytest.skip("VOC2012 is not here: put it into data/VOCdevkit")
    lists = "ImageSets/Segmentation"
    ids = {split: (here / lists / f"{split}.txt").read_text().split()[:4] for split in ("train", "val")}
    files = {f"{lists}/{split}.txt": "\n".join(names).encode() for split, names in ids.items()}
    for name in [*ids["train"], *ids["val"]]:
        files |= {
            path: (here / path).read_bytes() for path in (f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png")
        }
    content = packed({f"VOCdevkit/VOC2012/{path}": file for path, file in files.items()})
    (tmp_path / "voc.tar").write_bytes(content)
    real = SOURCES["voc2012"]
    file = replace(real.files[0], size=len(content), digest=sha256_of(content))
    source = replace(real, files=(file,), holds={"JPEGImages": 8, "SegmentationClass": 8, lists: 2})
    fetch(source, tmp_path / "data", archives=[tmp_path / "voc.tar"])
    root = tmp_path / "data" / "VOCdevkit"
    assert {path: (root / "VOC2012" / path).read_bytes() for path in files} == files
    assert [pair.id for pair in voc(root=root).checked("val").pairs] == ids["val"]
