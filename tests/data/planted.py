"""A made-up dataset in CamVid's layout, and one fault of each kind planted into it."""

import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from png_writer import chunk, png

from segkit.data.datasets.road_classes import PALETTE

HEIGHT, WIDTH, BLOCK = 48, 64, 8
SIZES = {"train": 70, "val": 8, "test": 8}
Planted = tuple[str, str]  # the kind, as the report titles it, and the place


def image(rng: np.random.Generator) -> np.ndarray:
    """A soft picture, unlike all others."""
    coarse = Image.fromarray(rng.integers(0, 256, (HEIGHT // BLOCK, WIDTH // BLOCK, 3), np.uint8))
    return np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def labels(rng: np.random.Generator, classes: int = 12) -> np.ndarray:
    """Blocks of class ids."""
    return rng.integers(0, classes, (HEIGHT // BLOCK, WIDTH // BLOCK), np.uint8).repeat(BLOCK, 0).repeat(BLOCK, 1)


def make_camvid(root: Path) -> Path:
    """Images that differ, with labels 0..11, 11 void."""
    rng = np.random.default_rng(0)
    for split, count in SIZES.items():
        for folder in (root / split, root / f"{split}annot"):
            folder.mkdir(parents=True)
        names = [f"{split}_{index:03}.png" for index in range(count)]
        for name in names:
            Image.fromarray(image(rng)).save(root / split / name)
            Image.fromarray(labels(rng)).save(root / f"{split}annot" / name)
        (root / f"{split}.txt").write_text(
            "".join(f"/CamVid/{split}/{name} /CamVid/{split}annot/{name}\n" for name in names)
        )
    return root


def plant(root: Path) -> Iterator[Planted]:
    """Plants every kind of fault that one dataset can have at once, each into a sample of its own."""
    names = iter(f"train_{index:03}.png" for index in range(SIZES["train"]))
    for part in (_lists, _files, _headers, _masks, _colors, _images, _copies):
        yield from part(root, lambda: next(names))


def _append(root: Path, split: str, line: str) -> int:
    """The number of the line."""
    path = root / f"{split}.txt"
    path.write_text(path.read_text() + line + "\n")
    return len(path.read_text().splitlines())


def _lists(root: Path, name: Callable[[], str]) -> Iterator[Planted]:
    _append(root, "train", "one two three")
    yield "list or folder of a split cannot be used", "train"
    twice = name()
    yield (
        "sample named twice in one list",
        f"train.txt:{_append(root, 'train', f'/CamVid/train/{twice} /CamVid/trainannot/{twice}')}",
    )
    both = name()
    _append(root, "test", f"/CamVid/train/{both} /CamVid/trainannot/{both}")
    yield "image in two splits", f"train/{both}"
    for split in ("val", "test"):
        yield "split has another number of images than the papers'", split
    other = name()
    (root / "trainannot" / other).rename(root / "trainannot" / "another.png")
    (root / "train.txt").write_text(
        (root / "train.txt").read_text().replace(f"trainannot/{other}", "trainannot/another.png")
    )
    yield "image and label have different names, unlike most pairs", f"train/{other}"
    Image.new("L", (3, 3)).save(root / "valannot" / "unused.png")
    yield "folder with files that no list names", "valannot"


def _files(root: Path, name: Callable[[], str]) -> Iterator[Planted]:
    path = root / "train" / name()
    path.unlink()
    yield "missing file", f"train/{path.name}"
    path = root / "trainannot" / name()
    path.unlink()
    yield "missing file", f"trainannot/{path.name}"
    path = root / "train" / name()
    path.unlink()
    path.mkdir()
    yield "file cannot be opened", f"train/{path.name}"
    for folder in ("train", "trainannot"):
        path = root / folder / name()
        path.write_bytes(b"")
        yield "empty file", f"{folder}/{path.name}"
    for folder, keep in (("train", 0.7), ("trainannot", 0.7), ("train", 0.01)):
        path = root / folder / name()
        content = path.read_bytes()
        path.write_bytes(content[: max(20, int(keep * len(content)))])
        yield "truncated or damaged file", f"{folder}/{path.name}"
    path = root / "trainannot" / name()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    yield "truncated or damaged file", f"trainannot/{path.name}"
    path = root / "train" / name()
    path.write_bytes(b"GIF89a, or so")
    yield "image is neither PNG nor JPEG", f"train/{path.name}"


def _headers(root: Path, name: Callable[[], str]) -> Iterator[Planted]:
    path = root / "trainannot" / name()
    Image.open(path).save(path, "JPEG")
    yield "label is not a PNG file", f"trainannot/{path.name}"
    for folder in ("train", "trainannot"):
        path = root / folder / name()
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(path)
        yield "more than 8 bits a channel", f"{folder}/{path.name}"
    path = root / "train" / name()
    rows = b"".join(b"\0" + bytes(range(3 * WIDTH)) for _ in range(HEIGHT))
    path.write_bytes(png(WIDTH, HEIGHT, rows=rows, before=chunk(b"acTL", struct.pack(">II", 3, 0))))
    yield "animation", f"train/{path.name}"
    path = root / "trainannot" / name()
    Image.open(path).convert("LA").save(path)
    yield "label with an alpha channel", f"trainannot/{path.name}"
    path = root / "train" / name()
    path.write_bytes(png(100_000, 100_000))
    yield "file is too large", f"train/{path.name}"
    transposed, scaled, cropped = (root / "trainannot" / name() for _ in range(3))
    for path, size in (
        (transposed, (HEIGHT, WIDTH)),
        (scaled, (WIDTH // 2, HEIGHT // 2)),
        (cropped, (WIDTH - 9, HEIGHT)),
    ):
        Image.open(path).resize(size, Image.Resampling.NEAREST).save(path)
        yield "image and label differ in size", f"train/{path.name}"


def _masks(root: Path, name: Callable[[], str]) -> Iterator[Planted]:
    def change(title: str, make: Callable[[np.ndarray], np.ndarray]) -> Planted:
        path = root / "trainannot" / name()
        Image.fromarray(make(np.asarray(Image.open(path)))).save(path)
        return title, f"trainannot/{path.name}"

    def blend(ids: np.ndarray) -> np.ndarray:
        small = Image.fromarray((ids % 2 * 255).astype(np.uint8)).resize((9, 7))
        return np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))

    def grey(ids: np.ndarray) -> np.ndarray:
        colors = np.concatenate([PALETTE, np.zeros((1, 3), np.uint8)])
        return np.asarray(Image.fromarray(colors[ids]).convert("L"))

    yield change("label ids that no class has", lambda ids: np.where(ids == 3, 40, ids).astype(np.uint8))
    yield change("many label ids that no class has", blend)
    yield change("label ids are stretched for viewing", lambda ids: (ids % 11 * 25).astype(np.uint8))
    yield change("label holds brightnesses of the classes' colours", grey)
    yield change("label holds 0 and 255 alone: a 0/255 mask?", lambda ids: (ids % 2 * 255).astype(np.uint8))
    yield change("label is void everywhere", lambda ids: np.full_like(ids, 11))
    path = root / "trainannot" / name()
    indexed = Image.open(path).convert("P")
    indexed.putpalette(PALETTE[::-1].tobytes())
    indexed.putdata(np.asarray(Image.open(path)).ravel().tolist())
    indexed.save(path)
    yield "palette of the label differs from the classes' colours", f"trainannot/{path.name}"


def _colors(root: Path, name: Callable[[], str]) -> Iterator[Planted]:
    colors = np.concatenate([PALETTE, np.zeros((1, 3), np.uint8)])
    compressed = root / "compressed.jpg"

    def jpeg(ids: np.ndarray) -> np.ndarray:
        Image.fromarray(colors[ids]).save(compressed, quality=90)
        return np.asarray(Image.open(compressed))

    changes = {
        "RGB label with colours that no class has": lambda ids: np.where(colors[ids] == 64, 65, colors[ids]).astype(
            np.uint8
        ),
        "RGB label with red and blue swapped": lambda ids: colors[ids][..., ::-1],
        "RGB label whose colours are nearly right": jpeg,
        "ids in three equal channels": lambda ids: np.stack([ids, ids, ids], -1),
    }
    for title, make in changes.items():
        path = root / "trainannot" / name()
        Image.fromarray(np.ascontiguousarray(make(np.asarray(Image.open(path))))).save(path)
        yield title, f"trainannot/{path.name}"
    compressed.unlink()


def _images(root: Path, name: Callable[[], str]) -> Iterator[Planted]:
    path = root / "train" / name()
    Image.new("RGB", (WIDTH, HEIGHT), (7, 7, 7)).save(path)
    yield "image of one colour", f"train/{path.name}"
    path = root / "train" / name()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    yield "EXIF rotation, which is ignored", f"train/{path.name}"
    for mode, title in (("L", "grey images"), ("RGBA", "images with an alpha channel"), ("P", "palette images")):
        path = root / "train" / name()
        Image.open(path).convert(mode).save(path)
        yield title, f"train/{path.name}"
    path = root / "train" / name()
    Image.open(path).convert("CMYK").save(path, "JPEG")
    yield "CMYK images", f"train/{path.name}"
    yield "image whose file name has the ending of another format", f"train/{path.name}"


def _copies(root: Path, name: Callable[[], str]) -> Iterator[Planted]:
    one, other = name(), name()
    for folder in ("train", "trainannot"):
        Image.open(root / folder / one).save(root / folder / other, compress_level=0)  # other bytes, equal pixels
    yield "equal images within a split", f"train/{other}"
    one, leaked = name(), "val_002.png"
    shutil.copy(root / "train" / one, root / "val" / leaked)
    yield "equal images in two splits", f"val/{leaked}"
    yield "equal images with different labels", f"valannot/{leaked}"
    one, near = name(), "val_003.png"
    brighter = np.asarray(Image.open(root / "train" / one)) * 0.9 + 12
    Image.fromarray(brighter.astype(np.uint8)).save(root / "val" / near, "JPEG", quality=80)
    yield "nearly equal images in two splits", f"val/{near}"
    yield "image whose file name has the ending of another format", f"val/{near}"
    one, other = name(), name()
    shutil.copy(root / "trainannot" / one, root / "trainannot" / other)
    yield "one label map for different images of a split", f"trainannot/{other}"
    one, other = name(), "test_004.png"
    shutil.copy(root / "trainannot" / one, root / "testannot" / other)
    yield "one label map for different images of two splits", f"testannot/{other}"
