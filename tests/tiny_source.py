"""A dataset of four images in one archive, to be fetched from a server of the tests."""

import hashlib
import io
import tarfile
from dataclasses import replace
from random import Random

import pytest

from segkit.data.download.fetch import fetch
from segkit.data.download.http import Patience
from segkit.data.download.sources import Digest, Source, SourceFile
from segkit.errors import RunError

IMAGES = {f"{index}.jpg": Random(index).randbytes(300_000) for index in range(4)}
QUICK = Patience(connect=5, read=0.4, attempts=3, first=0.01, longest=0.02)


def packed(files):
    """A tar archive of names and contents."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def sha256_of(content):
    return Digest("sha256", hashlib.sha256(content).hexdigest())


CONTENT = packed({f"kit/2012/images/{name}": image for name, image in IMAGES.items()} | {"kit/README": b"more"})
FILE = SourceFile("tiny.tar", "", most=len(CONTENT), size=len(CONTENT), digest=sha256_of(CONTENT))
SOURCE = Source(
    name="tiny", title="four images", terms="none", page="http://127.0.0.1/", files=(FILE,), folder="kit/2012", inside="kit/2012",
    holds={"images": 4}, use="go on with {0}/kit",
)  # fmt: skip


def source_at(url, **changes):
    """The dataset at an address; other fields of its file can be given."""
    return replace(SOURCE, files=(replace(FILE, url=url, **changes),))


def images(root):
    """Names and contents of the images that are there."""
    return {path.name: path.read_bytes() for path in (root / "kit" / "2012" / "images").iterdir()}


def left(root):
    """Names of what is in a folder."""
    return sorted(path.name for path in root.iterdir())


def failure(source, root, *, patience=QUICK):
    """What is said of the dataset, which cannot be fetched."""
    with pytest.raises(RunError) as caught:
        fetch(source, root, patience=patience)
    assert not (root / "kit").exists()
    return str(caught.value)
