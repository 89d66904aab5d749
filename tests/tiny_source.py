"""A dataset of four images in one archive, to be downloaded from a server of the tests."""

import hashlib
import io
import tarfile
from dataclasses import replace
from random import Random

from segkit.data.download.sources import Source, SourceFile

IMAGES = {f"{index}.jpg": Random(index).randbytes(300_000) for index in range(4)}


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
    return hashlib.sha256(content).hexdigest()


CONTENT = packed({f"kit/2012/images/{name}": image for name, image in IMAGES.items()} | {"kit/README": b"more"})
FILE = SourceFile("tiny.tar", "", size=len(CONTENT), sha256=sha256_of(CONTENT))
SOURCE = Source(
    name="tiny", title="four images", terms="none", page="http://127.0.0.1/", files=(FILE,), folder="kit/2012", inside="kit/2012",
    holds={"images": 4}, use="continue with {0}/kit",
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
