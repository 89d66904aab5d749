"""The table of sources says what is known, and nothing else."""

import hashlib
import re

import pytest
from tiny_source import CONTENT

from segkit.data.download.sources import SOURCES, SourceFile, content_digest, find_source
from segkit.errors import InputError


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_source_can_be_checked(source):
    assert source.title
    assert source.terms
    assert source.page.startswith("http")
    assert source.use.format("DIR").count("DIR/") >= 1
    assert source.files[0].goes_to is None
    assert source.content or all(file.sha256 or (file.size and file.md5_of_first_mib) for file in source.files)
    assert source.holds
    for file in source.files:
        assert file.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}", file.sha256 or "0" * 64)
        assert re.fullmatch("[0-9a-f]{32}", file.md5_of_first_mib or "0" * 32)


def test_no_two_sources_share_a_folder_even_where_case_is_not_told_apart():
    folders = [source.folder.casefold() for source in SOURCES.values()]
    assert len(set(folders)) == len(folders)
    parts = [file.name for source in SOURCES.values() for file in source.files]
    assert len(set(parts)) == len(parts)


def test_an_unknown_name_gets_a_suggestion():
    assert find_source("camvid") is SOURCES["camvid"]
    with pytest.raises(InputError) as caught:
        find_source("voc12")
    assert str(caught.value) == (
        "Unknown dataset 'voc12'; expected one of camvid, camvid_full, camvid_first, sbd, voc2012. "
        "Did you mean 'voc2012'?"
    )


def test_the_real_camvid_is_the_one_in_the_table(real_camvid):
    source = SOURCES["camvid"]
    assert source.lacks(real_camvid) == ""
    assert content_digest(real_camvid) == source.content
    assert sum(path.stat().st_size for path in real_camvid.rglob("*") if path.is_file()) == source.unpacked


def test_a_checksum_may_cover_the_first_mib_only(tmp_path):
    file = SourceFile("x", "", md5_of_first_mib=hashlib.md5(CONTENT[: 2**20], usedforsecurity=False).hexdigest())
    (tmp_path / "x").write_bytes(CONTENT[: 2**20] + b"other")
    assert file.fault(tmp_path / "x") == ""
    (tmp_path / "x").write_bytes(b"!" + CONTENT[1:])
    assert file.fault(tmp_path / "x").startswith("the MD5 of its first MiB is ")
