"""Everything that can be wrong, suspicious or worth knowing about a dataset.

Readers, training and `segkit data verify` share these faults. A file, list or label that cannot be used raises
`DataError`, which holds the fault; `verify` collects the same faults.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from segkit.errors import InputError


@dataclass(frozen=True)
class Kind:
    """One kind of fault: a title, and advice with the expected state and the next step.

    `problem`: training would be refused or go wrong; `warning`: it works, but may not be intended; `note`: worth
    knowing.
    """

    level: Literal["problem", "warning", "note"]
    title: str
    advice: str


@dataclass(frozen=True)
class Fault:
    """A finding at one place: a file, a list or a split. `other` is a second path, printed at the end of `detail`."""

    kind: Kind
    place: str
    detail: str = ""
    other: str = ""

    def __str__(self) -> str:
        detail = f"{self.detail} {self.other}".strip().removesuffix(".")
        return f"{self.place}: {self.kind.title}{f': {detail}' if detail else ''}. {self.kind.advice}"


class DataError(InputError):
    """Data that cannot be used. The message has the first fault and the number of others."""

    def __init__(self, *faults: Fault):
        super().__init__(*faults)
        self.faults, self.fault = faults, faults[0]

    def __str__(self) -> str:
        same, kinds = sum(fault.kind == self.fault.kind for fault in self.faults), {fault.kind for fault in self.faults}
        more = "" if same == 1 else f" {same - 1} more {'has' if same == 2 else 'have'} the same problem."
        others = "" if len(kinds) == 1 else f" {len(kinds) - 1} more kind{'s' * (len(kinds) > 2)} of problem."
        every = " 'segkit data verify CONFIG' lists everything." if more or others else ""
        return f"{self.fault}{more}{others}{every}"


def data_error(kind: Kind, place: Path | str, detail: str = "") -> DataError:
    """Return a `DataError` with one fault."""
    return DataError(Fault(kind, str(place), detail))


_problem, _warning, _note = partial(Kind, "problem"), partial(Kind, "warning"), partial(Kind, "note")
_AGAIN = "Copy it again from its source, or take the sample out."

# Lists
LIST = _problem("list or folder of a split cannot be used", "Repair it first: the samples that it names are not known.")
NAMED_TWICE = _problem("sample named twice in one list", "It would count double. Remove one line.")
IN_TWO_SPLITS = _problem(
    "image in two splits", "A model would be scored on what it was trained or chosen on. Remove it from one."
)
OTHER_SIZE = _warning(
    "split has another number of images than the papers'", "Scores cannot be compared with theirs. Restore the list."
)
OTHER_NAME = _warning("image and label have different names, unlike most pairs", "Check that they belong together.")
TEST_IS_VAL = _note("test is val", "Its score is that of the images that chose the weights.")
EDITION = _note("known edition of labels", "Scores on another edition cannot be compared.")
UNLISTED = _note("folder with files that no list names", "Nothing reads them.")

# Files that cannot be read
MISSING = _problem("missing file", "Check the path, copy the file again from its source, or take the sample out.")
UNREADABLE = _problem("file cannot be opened", "Expected a plain file that may be read. Check the path and its rights.")
EMPTY = _problem("empty file", _AGAIN)
DAMAGED = _problem("truncated or damaged file", _AGAIN)
NO_IMAGE = _problem("image is neither PNG nor JPEG", "Convert it, or copy it again from its source.")
NO_PNG = _problem(
    "label is not a PNG file",
    "JPEG and the like change ids. Export the label as PNG again from its source; converting is too late.",
)
DEEP = _problem("more than 8 bits a channel", "Expected at most 8. Convert the file; labels without scaling their ids.")
ANIMATED = _problem("animation", "Expected one image. Save the frame that you want.")
ALPHA_LABEL = _problem(
    "label with an alpha channel", "Expected ids in one channel, or RGB colours. Save it without alpha."
)
HUGE = _problem("file is too large", "It was not decoded. Crop or shrink it, or copy it again.")

# Pairs and labels
SIZES_DIFFER = _problem(
    "image and label differ in size",
    "Find the matching pair of files; to scale a label, repeat pixels and never average.",
)
UNKNOWN_IDS = _problem(
    "label ids that no class has", "Fix the labels, or name every class of the dataset: is the background among them?"
)
OFF_BY_ONE = _problem(
    "label ids begin at 1",
    "No label holds 0, and the highest id is one too high. Subtract 1 from all but 255. "
    "Or give every class its id in the class file: '- NAME: 1', '- NAME: 2', ...",
)
MANY_IDS = _problem(
    "many label ids that no class has",
    "The label was scaled with interpolation, saved as JPEG, or is a grey photo. Make it again by nearest neighbour.",
)
STRETCHED_IDS = _problem(
    "label ids are stretched for viewing", "All are multiples of one number. Divide by it: 0, 1, 2, ..."
)
GREY_PALETTE = _problem(
    "label holds brightnesses of the classes' colours",
    "A palette or RGB mask was opened as grey. Convert the original mask to ids.",
)
ZERO_255 = _problem(
    "0/255 masks: 255 means void, so only the first class would be learned",
    "Save 1 in place of 255: Image.fromarray((mask > 127).astype('uint8')). Or give both their ids in the class file: "
    "'- background: 0' and '- white: 255'.",
)
PERHAPS_ZERO_255 = _warning(
    "label holds 0 and 255 alone: a 0/255 mask?", "255 means void. If white is class 1, save 1 in place of 255."
)
SHARED_COLOR = _problem(
    "two classes share a colour, and labels are RGB", "Give each class its own colour, or save labels as ids."
)
UNKNOWN_COLORS = _problem(
    "RGB label with colours that no class has",
    "Expected the exact colours of the classes. Fix the label or the classes' colours.",
)
SWAPPED_COLORS = _problem(
    "RGB label with red and blue swapped",
    "OpenCV wrote it: it takes BGR. Swap them back: mask[..., ::-1], or save palette masks with Pillow.",
)
BLENDED_COLORS = _problem(
    "RGB label whose colours are nearly right",
    "It was scaled with interpolation or saved as JPEG, which mix colours. Make it again by nearest neighbour, as PNG.",
)
GREY_AS_RGB = _problem(
    "ids in three equal channels", "Expected one channel of ids. Save the first: Image.fromarray(mask[..., 0])."
)
PALETTE_DIFFERS = _note(
    "palette of the label differs from the classes' colours",
    "Ids count, not colours; but check the order of the classes.",
)
VOID_LABEL = _warning(
    "label is void everywhere", "Nothing is learned from it. Take the sample out unless it is intended."
)
CONSTANT_IMAGE = _warning("image of one colour", "Check it, and take the sample out unless it is intended.")
ROTATED = _warning(
    "EXIF rotation, which is ignored", "Check that label and image agree as stored; rotate the pixels of both if not."
)
GREY_IMAGE = _note("grey images", "They are repeated to three channels.")
CMYK_IMAGE = _note("CMYK images", "They are converted to RGB.")
ALPHA_IMAGE = _note("images with an alpha channel", "It is dropped.")
PALETTE_IMAGE = _note("palette images", "They are converted to RGB.")
OTHER_ENDING = _note("image whose file name has the ending of another format", "It is read by its content.")

# Splits
ALL_VOID = _problem("split without a labelled pixel", "Check the labels.")
ONE_CLASS = _problem(
    "all training labels hold one and the same class", "Nothing else can be learned. Check the labels."
)
ONE_CLASS_SCORED = _warning("all labels of a split hold one and the same class", "Check the labels.")
MUCH_VOID = _warning(
    "more than half of a split is void", "Void is neither learned nor scored. Check the ids unless it is intended."
)
ABSENT_TRAINING = _warning(
    "classes without a pixel in train", "They cannot be learned: their IoU is 0 where they are scored."
)
ABSENT_SCORED = _warning(
    "classes without a pixel in val or test", "They have no IoU there and are left out of the mean."
)
COPIES = _warning("equal images within a split", "They count double. Keep one unless it is intended.")
LEAKED_COPIES = _problem(
    "equal images in two splits", "A model would be scored on what it was trained or chosen on. Remove one."
)
CONFLICT = _problem("equal images with different labels", "One of them is wrong. Find out which, and remove it.")
NEAR_COPIES = _warning(
    "nearly equal images in two splits",
    "Scores would flatter, as with frames of one video. Look at them; keep such images together.",
)
LABEL_TWICE = _warning("one label map for different images of a split", "Check which image it belongs to.")
LABEL_IN_SPLITS = _warning("one label map for different images of two splits", "Check which image it belongs to.")
