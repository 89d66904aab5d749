"""The built-in dataset: procedurally drawn road scenes with CamVid's 11 classes. Nothing is downloaded or stored.

It serves smoke tests, tutorials and quick studies. Colours and light are random and overlap between classes, so a model
has to use shape and context. Decoders differ most on thin poles, riders and slanted borders.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from annotated_types import Ge, Le
from numpy.random import Generator

from segkit.config.ranges import Count
from segkit.data.dataset import Sample
from segkit.data.datasets import streets_drawing as drawing
from segkit.data.datasets.road_classes import CLASS_NAMES, PALETTE
from segkit.data.datasets.streets_drawing import BUILDING, PAVEMENT, ROAD, SKY, TREE, Canvas, lighter, pick_colour
from segkit.tensors import IGNORE, RawImage, RawLabels, Size

GENERATOR_VERSION = 1  # increase it whenever a label of any scene changes
SPLITS = ("train", "val", "test")
Side = Annotated[int, Ge(32), Le(2048)]  # pixels
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]  # one word of a seed sequence; more could equal another split's stream
FAR, NEAR = 80.0, 1.0  # things are drawn between these distances in metres


class Streets:
    """Drawn road scenes; sample `index` of `split` depends only on (seed, split, index) and the size.

    Another size with the same proportions gives the same scene.

    Args:
        split: "train", "val" or "test"; their scenes come from separate random streams.
        size: (height, width) in pixels, each from 32 to 2048.
        train_images, val_images, test_images: number of scenes in each split.
        seed: seed of the random streams, 0 to 2**32 - 1.
    """

    class_names: tuple[str, ...] = CLASS_NAMES
    palette: np.ndarray = PALETTE

    def __init__(
        self,
        split: str,
        *,
        size: tuple[Side, Side] = (96, 128),
        train_images: Count = 200,
        val_images: Count = 40,
        test_images: Count = 60,
        seed: Seed = 0,
    ):
        counts = {"train_images": train_images, "val_images": val_images, "test_images": test_images}
        self.split, self.size, self.seed, self._counts = split, size, seed, counts

    def __len__(self) -> int:
        return self._counts[f"{self.split}_images"]

    def __getitem__(self, index: int) -> Sample:
        index, rng = self._stream(index)
        canvas, street = _draw(rng, self.size)
        labels = canvas.labels()
        return Sample(f"streets-{self.split}-{index:05d}", _photograph(canvas, street, labels, rng), labels)

    def labels(self, index: int) -> RawLabels:
        """Return only the labels, uint8 [H, W], 255 = ignored."""
        return _draw(self._stream(index)[1], self.size)[0].labels()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the arguments and the generator's version, which determine every label."""
        arguments = (GENERATOR_VERSION, self.split, self.size, sorted(self._counts.items()), self.seed)
        return hashlib.sha256(repr(arguments).encode()).hexdigest()

    def _stream(self, index: int) -> tuple[int, Generator]:
        index = range(len(self))[index]
        return index, np.random.default_rng([self.seed, SPLITS.index(self.split), index])


@dataclass(frozen=True)
class _Street:
    """Plan of a street, in metres right of the camera: edges of the road, width of the pavements, house fronts."""

    left: float
    right: float
    pavement: tuple[float, float]
    walls: tuple[float, float]


def _draw(rng: Generator, size: Size) -> tuple[Canvas, _Street]:
    """Draw one scene, from far to near, and return it with its plan."""
    aspect = size[1] / size[0]
    camera = drawing.Camera(
        height=rng.uniform(1.2, 2.3),
        focal=rng.uniform(0.85, 1.25),
        horizon=rng.uniform(0.36, 0.54),
        centre=aspect * float(np.clip(rng.normal(0.5, 0.1), 0.28, 0.72)),
        roll=math.radians(rng.normal(0, 3.5)) if rng.random() < 0.5 else 0.0,
        bend=rng.normal(0, 0.0022),
        aspect=aspect,
    )
    road, offset = rng.uniform(5.5, 9.5), rng.uniform(-1.6, 1.6)
    left, right = offset - road / 2, offset + road / 2
    pavement = (rng.uniform(1.5, 3.5), rng.uniform(1.5, 3.5))
    garden = (rng.uniform(0, 2.5, 2) * (rng.random(2) < 0.6)).tolist()
    street = _Street(left, right, pavement, (pavement[0] - left + garden[0], pavement[1] + right + garden[1]))
    sky = pick_colour(rng, SKY)
    canvas = Canvas(size, camera, haze=sky, visibility=rng.uniform(50, 300))
    _draw_sky(canvas, rng, sky)
    _draw_ground(canvas, rng, street)
    _draw_skyline(canvas, rng)
    for side in rng.permutation([-1, 1]).tolist():
        _draw_side(canvas, rng, street, side)
    _draw_things(canvas, rng, street)
    _draw_hood(canvas, rng)
    return canvas, street


def _draw_sky(canvas: Canvas, rng: Generator, low: drawing.Colour) -> None:
    """Draw a gradient down to the horizon, and clouds."""
    high = np.array(lighter(low, rng.uniform(0.65, 1.1))) + (0, 0, rng.uniform(0, 25))
    share = np.linspace(0, 2, len(canvas.pixels))[:, None].clip(0, 1)
    rows = np.full((len(share), 1, 4), SKY, np.uint8)
    rows[:, 0, :3] = (high * (1 - share) + np.array(low) * share).clip(0, 255)
    canvas.pixels[:] = rows
    for _ in range(rng.integers(0, 5)):
        middle = rng.uniform((0, -0.1), (canvas.camera.aspect, canvas.camera.horizon))
        cloud = lighter(low, rng.uniform(0.85, 1.2))
        for scale, offset in zip(rng.uniform(0.03, 0.12, 4), rng.uniform(-0.2, 0.2, (4, 2)), strict=True):
            canvas.screen(drawing.CIRCLE * (2 * scale, scale) + offset * (1, 0.15) + middle, cloud, SKY)


def _draw_ground(canvas: Canvas, rng: Generator, street: _Street) -> None:
    """Draw pavement everywhere, the road with its lines, and sometimes a strip of grass and a side road."""
    camera, stone, tar = canvas.camera, pick_colour(rng, PAVEMENT), pick_colour(rng, ROAD)
    canvas.screen(np.array(drawing.rectangle(-2.0, camera.aspect + 2, camera.horizon - 0.01, 3.0)), stone, PAVEMENT)
    z = np.geomspace(NEAR, FAR, 16)

    def strip(x0: float, x1: float, z: np.ndarray) -> np.ndarray:
        edges = [np.stack([np.full_like(z, x), np.zeros_like(z), z], 1) for x in (x0, x1)]
        return np.concatenate([edges[0], edges[1][::-1]])

    for side, edge in ((-1, street.left), (1, street.right)):
        pavement = street.pavement[(side + 1) // 2]
        if rng.random() < 0.25:
            canvas.fill(strip(edge + side * pavement, edge + side * (pavement + 4), z), pick_colour(rng, TREE), TREE)
        if rng.random() < 0.3:
            z0 = rng.uniform(7, 25)
            canvas.fill(strip(edge, edge + side * 30, np.array([z0, z0 + rng.uniform(5, 9)])), tar, ROAD)
    kerb = lighter(stone, rng.uniform(0.75, 1.3))
    canvas.fill(strip(street.left - 0.2, street.right + 0.2, z), kerb, PAVEMENT)
    canvas.fill(strip(street.left, street.right, z), tar, ROAD)
    paint, dashed, middle = lighter(tar, rng.uniform(1.2, 2.2)), rng.random() < 0.6, (street.left + street.right) / 2
    if rng.random() < 0.8:
        starts = np.arange(rng.uniform(1, 4), 50, 4.5) if dashed else z[:-1]
        ends = starts + 2 if dashed else z[1:]
        dashes = [strip(middle - 0.08, middle + 0.08, np.array(pair)) for pair in zip(starts, ends, strict=True)]
        canvas.fill(dashes, paint, ROAD)
    if rng.random() < 0.4:
        canvas.fill(strip(street.left + 0.3, street.left + 0.45, z), paint, ROAD)
        canvas.fill(strip(street.right - 0.45, street.right - 0.3, z), paint, ROAD)


def _draw_skyline(canvas: Canvas, rng: Generator) -> None:
    """Draw distant trees and houses at the end of the street."""
    colours = {kind: pick_colour(rng, kind) for kind in (TREE, BUILDING)}
    for x in np.arange(-110, 110, 13.0).tolist():
        x -= canvas.camera.bend * FAR**2
        if not canvas.shows(x, FAR, 15.0):
            continue
        kind, wide, high, peak = (TREE, BUILDING)[rng.integers(2)], *rng.uniform((8, 3, -8), (12, 12, 8)).tolist()
        outline = [(-wide, -0.3), (wide, -0.3), (wide, high), (peak, high * 1.2), (-wide, high)]
        if kind == TREE:
            outline = drawing.CIRCLE * rng.uniform(0.8, 1.1, (14, 1)) * (wide, high)
            outline[:, 1] = outline[:, 1].clip(-0.3)
        canvas.stand(x, FAR, outline, lighter(colours[kind], rng.uniform(0.8, 1.2)), kind)


def _draw_side(canvas: Canvas, rng: Generator, street: _Street, side: int) -> None:
    """Draw houses, trees, fences and gaps along one side of the street, from far to near."""
    wall, leafy, z1 = street.walls[(side + 1) // 2], rng.uniform(0.1, 0.8), FAR * 0.9
    while z1 > NEAR + 1:
        z0 = max(NEAR, z1 - rng.uniform(7, 20))
        if rng.random() > leafy:
            drawing.draw_building(canvas, rng, side, wall, z0, z1)
        else:
            for z in np.linspace(z1, z0, rng.integers(1, 4), endpoint=False).tolist():
                drawing.draw_tree(canvas, rng, side * (wall + rng.uniform(1.0, 4.0)), z)
        if rng.random() < 0.35:
            drawing.draw_fence(canvas, rng, side * (wall - 0.3), z0, z1)
        z1 = z0 if rng.random() < 0.75 else z0 - rng.uniform(2, 6)


def _draw_things(canvas: Canvas, rng: Generator, street: _Street) -> None:
    """Draw cars, people, poles and trees along the kerb, from far to near."""
    left, right = street.left, street.right

    def kerb(reach: float) -> float:
        side = rng.integers(2)
        return (left - reach * street.pavement[0], right + reach * street.pavement[1])[side]

    def lane(margin: float) -> float:
        return rng.uniform(left + margin, right - margin)

    def ahead(x: float, closest: int, farthest: int) -> float:
        """Draw a distance at which a thing at x is likely to be visible."""
        least = max(closest, 1.7 * abs(x))
        return least * (max(farthest, least + 1) / least) ** rng.random()

    things = []
    for draw, least, most, place, closest, farthest in (
        (drawing.draw_pole, 4, 8, lambda: kerb(rng.uniform(0.1, 0.35)), 4, 45),
        (drawing.draw_tree, 0, 2, lambda: kerb(rng.uniform(0.3, 0.8)), 8, 45),
        (drawing.draw_pedestrian, 3, 8, lambda: kerb(rng.uniform(0.1, 1.0)), 4, 22),
        (drawing.draw_pedestrian, 0, 1, lambda: lane(0.0), 7, 40),
        (drawing.draw_bicyclist, 1, 4, lambda: lane(0.3), 5, 28),
        (drawing.draw_car, 0, 2, lambda: lane(1.2), 8, 50),
        (drawing.draw_car, 0, 3, lambda: (left + 1.0, right - 1.0)[rng.integers(2)], 6, 50),
        (drawing.draw_litter, 0, 3, lambda: kerb(rng.uniform(-0.3, 0.9)), 4, 30),
    ):
        for _ in range(rng.integers(least, most + 1)):
            x = float(place())
            things.append((ahead(x, closest, farthest), x, draw))
    for z, x, draw in sorted(things, key=lambda thing: -thing[0]):
        draw(canvas, rng, x, z)


def _draw_hood(canvas: Canvas, rng: Generator) -> None:
    """Draw in some scenes the hood of the car that carries the camera, which is void."""
    if rng.random() > 0.35:
        return
    wide, top, colour = canvas.camera.aspect, 1 - rng.uniform(0.05, 0.12), pick_colour(rng, IGNORE)
    x = np.linspace(-0.3, wide + 0.3, 12)
    bow = top + rng.uniform(0.02, 0.12) * (2 * x / wide - 1) ** 2
    edge = np.concatenate([np.stack([x, bow], 1), [(wide + 0.3, 2.0), (-0.3, 2.0)]])
    canvas.screen(edge, colour, IGNORE)
    canvas.screen(edge + (0, 0.02), lighter(colour, rng.uniform(0.7, 1.3)), IGNORE)


def _photograph(canvas: Canvas, street: _Street, labels: RawLabels, rng: Generator) -> RawImage:
    """Return the image [H, W, 3], with texture on surfaces, light and shadow, blur and noise."""
    image, (height, width) = canvas.picture().astype(np.float32), canvas.size
    grain = rng.uniform(1, 6, (2, IGNORE + 1)).astype(np.float32)
    grain[:, TREE] = rng.uniform(4, 15, 2)
    grain[:, SKY] *= 0.3
    coarse = cv2.resize(rng.standard_normal((height // 3, width // 3), np.float32), (width, height))
    fine = rng.standard_normal((height, width), np.float32)
    image += (grain[0][labels] * fine + grain[1][labels] * coarse)[..., None]
    if rng.random() < 0.5:
        image *= _shadow(canvas, street, rng)[..., None]
    warmth, contrast = rng.normal(0, 0.06), rng.uniform(0.75, 1.2)
    light = rng.uniform(0.7, 1.2) * contrast * np.array([1 + warmth, 1.0, 1 - warmth], np.float32)
    image = image * light + 115 * (1 - contrast)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.003, 0.006) * height)
    image += rng.uniform(1, 4) * rng.standard_normal(image.shape, np.float32)
    return image.clip(0, 255).astype(np.uint8)


def _shadow(canvas: Canvas, street: _Street, rng: Generator) -> np.ndarray:
    """Return the share of light [H, W] that arrives if a house or a tree shades a part of the street."""
    z0, reach = rng.uniform(3, 12), rng.uniform(0.2, 1.0) * (street.right - street.left)
    x0, x1 = (-20.0, street.left + reach) if rng.random() < 0.5 else (street.right - reach, 20.0)
    skew, z1 = rng.uniform(-2, 2), z0 + rng.uniform(2, 15)
    ground = np.array([(x0, 0, z0), (x1, 0, max(z0 + skew, 1.5)), (x1, 0, z1 + skew + 2), (x0, 0, z1)])
    shade = np.ones(canvas.size, np.float32)
    cv2.fillPoly(shade, [canvas.locate(ground) // drawing.OVERSAMPLING], rng.uniform(0.45, 0.8))
    return shade
