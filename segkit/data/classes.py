"""Classes, their ids and colours in label files, and the diagnosis of files with other ids or colours."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.data import faults
from segkit.data.faults import Kind, data_error
from segkit.tensors import IGNORE, RawImage, RawLabels

Color = tuple[int, int, int]  # RGB, 0..255

_MANY = 8  # this many unknown ids or colours are not just forgotten classes
_NEAR = 24  # largest difference in a channel that JPEG makes within an area
_BRIGHT = 127  # from this id on, a single id besides 0 stands for white


@dataclass(frozen=True)
class Classes:
    """Classes and their ids and colours on disk.

    Attributes:
        names: names of classes 0..K-1.
        palette: uint8 [K, 3], RGB, one colour per class.
        ids: id on disk -> class id, or 255 for ignored; 255 on disk is ignored unless it is a key here.
        colors: colour in RGB masks -> class id, or 255.
    """

    names: tuple[str, ...]
    palette: np.ndarray
    ids: Mapping[int, int]
    colors: tuple[tuple[Color, int], ...]

    @property
    def expected_ids(self) -> str:
        """Ids that label files may hold, in words."""
        ids = sorted(id for id, index in self.ids.items() if index != IGNORE)
        void = sorted({*self.ids, IGNORE} - {*ids})
        ends = zip([id for id in ids if id - 1 not in ids], [id for id in ids if id + 1 not in ids], strict=True)
        shown = ", ".join(str(first) if first == last else f"{first}..{last}" for first, last in ends)
        return f"{shown}, or {' or '.join(map(str, void))} for void" if void else shown


def plain_classes(
    names: Sequence[str], palette: np.ndarray, *, void: int | None = None, void_color: Color | None = None
) -> Classes:
    """Return classes whose ids and colours on disk are their class ids and palette colours.

    `void` (an id, besides 255) and `void_color` (in RGB masks) mean "ignored".
    """
    ids = {index: index for index in range(len(names))} | ({} if void is None else {void: IGNORE})
    colors = [((red, green, blue), index) for index, (red, green, blue) in enumerate(palette.tolist())]
    return Classes(tuple(names), palette, ids, tuple(colors if void_color is None else [*colors, (void_color, IGNORE)]))


def pixels_of_values(raw: RawLabels | RawImage) -> Counter[int]:
    """Count the pixels of each id in a label map, or of each colour in an RGB mask, as a code for `color_of`."""
    values, pixels = np.unique(raw if raw.ndim == 2 else _codes(raw), return_counts=True)
    return Counter(dict(zip(values.tolist(), pixels.tolist(), strict=True)))


def color_of(code: int) -> Color:
    """Return the RGB colour of a code of `pixels_of_values`."""
    return code >> 16, code >> 8 & 255, code & 255


def _codes(colors: np.ndarray) -> np.ndarray:
    """Return int32 [...] for colours uint8 [..., 3]: one code per colour."""
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


class LabelReader:
    """Reader of class ids from label maps on disk.

    Only exact colours count: taking the nearest one would hide that a mask was scaled or compressed.
    """

    def __init__(self, classes: Classes):
        self.classes = classes
        self._lookup = np.full(256, IGNORE - 1, np.uint8)  # IGNORE - 1: an id that no class may have
        self._lookup[IGNORE] = IGNORE
        self._lookup[list(classes.ids)] = list(classes.ids.values())
        codes = _codes(np.array([color for color, _ in classes.colors], np.uint8))
        order = np.argsort(codes, kind="stable")
        self._codes, self._ids = codes[order], np.array([id for _, id in classes.colors], np.uint8)[order]
        repeated = self._codes[1:][(np.diff(self._codes) == 0) & (np.diff(self._ids.astype(int)) != 0)]
        self._shared = None if not len(repeated) else color_of(int(repeated[0]))  # a colour of two classes

    def __call__(self, raw: RawLabels | RawImage, path: Path) -> RawLabels:
        """Return class ids uint8 [H, W], 255 = ignored, for the ids [H, W] or colours [H, W, 3] read from `path`.

        Raises:
            DataError: if an id or colour belongs to no class, or a colour to two; says what probably went wrong.
        """
        if raw.ndim == 2:
            labels = self._lookup[raw]
            if (labels == IGNORE - 1).any():
                raise self._error(raw, path)
            return labels
        codes = _codes(raw)
        places = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        if self._shared or (self._codes[places] != codes).any():
            raise self._error(raw, path)
        return self._ids[places]

    def digest_text(self, *, colors: bool) -> str:
        """Return a text for digests that differs if labels are read differently."""
        text = repr((self.classes.names, self._lookup.tolist()))
        return text + repr(self.classes.colors) if colors else text

    def _error(self, raw: RawLabels | RawImage, path: Path) -> Exception:
        kind, detail = self._wrong_ids(raw) if raw.ndim == 2 else self._wrong_colors(raw)
        return data_error(kind, path, detail)

    def _wrong_ids(self, raw: RawLabels) -> tuple[Kind, str]:
        """Return the kind of fault of unknown ids in a map [H, W], and a list of these ids with their pixels."""
        pixels, classes = pixels_of_values(raw), self.classes
        unknown = {str(id): count for id, count in pixels.items() if id not in classes.ids and id != IGNORE}
        detail = f"{_most(unknown)}; expected {classes.expected_ids}"
        colors = np.array([color for color, _ in classes.colors], np.int64)
        grey = {*(colors @ np.array([19595, 38470, 7471]) + 0x8000 >> 16).tolist()}  # as Pillow's convert("L") has it
        if len(pixels) > 1 and grey.issuperset(pixels):
            return faults.GREY_PALETTE, detail
        used, count = [id for id in pixels if id], len(classes.names)
        step = math.gcd(*used)
        if step >= count and max(used) // step < count and (len(used) > 1 or step >= _BRIGHT):
            return faults.STRETCHED_IDS, f"multiples of {step}: {detail}"
        return (faults.MANY_IDS if len(unknown) >= _MANY else faults.UNKNOWN_IDS), detail

    def _wrong_colors(self, raw: RawImage) -> tuple[Kind, str]:
        """Return the kind of fault of unknown colours in [H, W, 3], and a list of these colours with their pixels."""
        if self._shared:
            names = [*self.classes.names, *["ignored"] * (IGNORE + 1 - len(self.classes.names))]
            of = {names[id] for color, id in self.classes.colors if color == self._shared}
            return faults.SHARED_COLOR, f"{list(self._shared)} is {' and '.join(map(repr, sorted(of)))}"
        pixels = {color_of(code): count for code, count in pixels_of_values(raw).items()}
        known = {color for color, _ in self.classes.colors}
        unknown = {color: count for color, count in pixels.items() if color not in known}
        detail = _most({str(list(color)): count for color, count in unknown.items()})
        if all(red == green == blue and red in {*self.classes.ids, IGNORE} for red, green, blue in pixels):
            return faults.GREY_AS_RGB, detail
        if all(color[::-1] in known for color in pixels):
            return faults.SWAPPED_COLORS, detail
        if len(unknown) >= _MANY:
            table, most = np.array([*known]), sorted(pixels, key=lambda color: -pixels[color])[:1000]
            near = [color for color in most if np.abs(table - color).max(1).min() <= _NEAR]  # a photo has thousands
            if sum(pixels[color] for color in near) >= raw.shape[0] * raw.shape[1] / 2:
                return faults.BLENDED_COLORS, detail
        return faults.UNKNOWN_COLORS, detail


def _most(counts: Mapping[str, int]) -> str:
    """List the five ids or colours with the most pixels."""
    most = sorted(counts, key=lambda each: -counts[each])[:5]
    more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    return ", ".join(f"{each} ({counts[each]} pixels)" for each in most) + more
