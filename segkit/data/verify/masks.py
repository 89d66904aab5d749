"""What went wrong with a label map whose ids or colours are not those of the classes."""

from collections import Counter

import numpy as np

from segkit.data.classes import Classes
from segkit.data.color_map import color_codes
from segkit.data.verify.kinds import (
    BLENDED_COLORS,
    GREY_AS_RGB,
    GREY_PALETTE,
    MANY_IDS,
    SHARED_COLOR,
    STRETCHED_IDS,
    SWAPPED_COLORS,
    UNKNOWN_COLORS,
    UNKNOWN_IDS,
    Kind,
)
from segkit.tensors import IGNORE, RawImage, RawLabels

MANY = 8  # ids or colours of no class: nobody forgets so many classes
NEAR = 24  # difference in a channel that JPEG makes within an area
BRIGHT = 127  # an id that stands for "white" where it is the only one


def explain_ids(raw: RawLabels, classes: Classes) -> tuple[Kind, str]:
    """Why ids [H, W] are none of the classes'; and which ones, with their pixels."""
    ids, counts = np.unique(raw, return_counts=True)
    known = {*classes.ids, IGNORE}
    unknown = {int(id): int(count) for id, count in zip(ids, counts, strict=True) if id not in known}
    detail = f"{_most({str(id): count for id, count in unknown.items()})}; expected {expected_ids(classes)}"
    colors = np.array([color for color, _ in classes.colors], np.int64)
    brightness = {*(colors @ np.array([19595, 38470, 7471]) + 0x8000 >> 16).tolist()}  # as Pillow's convert("L") has it
    if len(ids) > 1 and brightness.issuperset(ids.tolist()):
        return GREY_PALETTE, detail
    used = ids[ids > 0]
    step = int(np.gcd.reduce(used))
    if step >= len(classes.names) and used[-1] // step < len(classes.names) and (len(used) > 1 or step >= BRIGHT):
        return STRETCHED_IDS, f"multiples of {step}: {detail}"
    return (MANY_IDS if len(unknown) >= MANY else UNKNOWN_IDS), detail


def expected_ids(classes: Classes) -> str:
    """The ids that label files may hold, in words."""
    ids = sorted(id for id, index in classes.ids.items() if index != IGNORE)
    void = sorted({*classes.ids, IGNORE} - {*ids})
    ends = zip([id for id in ids if id - 1 not in ids], [id for id in ids if id + 1 not in ids], strict=True)
    shown = ", ".join(str(first) if first == last else f"{first}..{last}" for first, last in ends)
    return f"{shown}, or {' or '.join(map(str, void))} for void" if void else shown


def explain_colors(raw: RawImage, classes: Classes) -> tuple[Kind, str]:
    """Why colours [H, W, 3] are none of the classes'; and which ones, with their pixels."""
    repeated = [color for color, count in Counter(color for color, _ in classes.colors).items() if count > 1]
    if repeated and len({id for color, id in classes.colors if color == repeated[0]}) > 1:
        return SHARED_COLOR, str(list(repeated[0]))
    codes, counts = np.unique(color_codes(raw), return_counts=True)
    known = {color for color, _ in classes.colors}
    colors = [(code >> 16, code >> 8 & 255, code & 255) for code in codes.tolist()]
    unknown = {color: count for color, count in zip(colors, counts.tolist(), strict=True) if color not in known}
    detail = _most({str(list(color)): count for color, count in unknown.items()})
    if all(red == green == blue and red in {*classes.ids, IGNORE} for red, green, blue in colors):
        return GREY_AS_RGB, detail
    if all(color[::-1] in known for color in colors):
        return SWAPPED_COLORS, detail
    if len(unknown) >= MANY:
        table, most = np.array([*known]), np.argsort(-counts)[:1000]  # a photo has many thousands
        near = [index for index in most if np.abs(table - colors[index]).max(1).min() <= NEAR]
        if counts[near].sum() >= counts.sum() / 2:
            return BLENDED_COLORS, detail
    return UNKNOWN_COLORS, detail


def _most(counts: dict[str, int]) -> str:
    """The five with the most pixels."""
    most = sorted(counts, key=lambda each: -counts[each])[:5]
    more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    return ", ".join(f"{each} ({counts[each]} pixels)" for each in most) + more
