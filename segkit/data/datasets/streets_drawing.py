"""Camera, canvas and the things in a street that `streets.py` draws.

World coordinates are metres: X to the right, Y up from the road, Z ahead of the camera. Screen coordinates are image
heights from the top left corner. Colours are RGB tuples, 0..255.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from segkit.tensors import IGNORE, RawImage, RawLabels, Size

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
OVERSAMPLING = 2
Colour = tuple[float, float, float]

# Lowest and highest grey, a hue that is added with a random weight, spread per channel. The colours of classes overlap.
COLOURS = {
    SKY: (160, 250, (-50, -8, 35), 6),
    BUILDING: (55, 215, (40, 0, -30), 14),
    POLE: (20, 105, (0, 0, 0), 6),
    ROAD: (45, 110, (0, 0, 8), 4),
    PAVEMENT: (100, 190, (18, 4, -12), 6),
    TREE: (30, 115, (-10, 35, -35), 8),
    SIGN: (60, 230, (0, 0, 0), 60),
    FENCE: (60, 180, (24, 8, -24), 12),
    CAR: (20, 235, (0, 0, 0), 45),
    PEDESTRIAN: (20, 200, (0, 0, 0), 45),
    BICYCLIST: (20, 200, (0, 0, 0), 45),
    IGNORE: (25, 200, (0, 0, 0), 40),
}

_ANGLES = np.linspace(0, 2 * np.pi, 14, endpoint=False)
CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)
SIGNS = (
    CIRCLE,
    np.array([(0, 1.2), (-1.05, -0.6), (1.05, -0.6)]),
    np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
    np.array([(-1.5, -0.8), (1.5, -0.8), (1.5, 0.8), (-1.5, 0.8)]),
)
COAT = np.array([(-0.26, 1.44), (0.26, 1.44), (0.2, 0.8), (-0.2, 0.8)])
WHEEL = np.vstack([CIRCLE, CIRCLE[:1]]) * 0.34 + (0, 0.34)
FRAME = np.array([(0.5, 1.05), (0.4, 1.0), (0.55, 0.34), (0.4, 0.8), (0, 0.34), (-0.55, 0.34), (-0.2, 0.8), (0.4, 0.8)])


def pick_colour(rng: Generator, kind: int) -> Colour:
    """Draw a random colour for one thing of class `kind`."""
    low, high, hue, spread = COLOURS[kind]
    level, share, *rgb = rng.random(5).tolist()
    level, share = low + (high - low) * level, 1.3 * share - 0.3
    r, g, b = (level + share * tone + spread * (3.4 * chance - 1.7) for tone, chance in zip(hue, rgb, strict=True))
    return r, g, b


def lighter(colour: Colour, factor: float) -> Colour:
    """Return the colour times a factor; a factor below 1 makes it darker."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


@dataclass(frozen=True)
class Camera:
    """Position and lens of the camera."""

    height: float  # metres above the road
    focal: float  # focal length, in image heights
    horizon: float  # in image heights from the top, before the roll
    centre: float  # where a straight road vanishes, in image heights from the left
    roll: float  # radians, about the centre of the image
    bend: float  # curvature of the road to the right, 1/metres
    aspect: float  # width / height of the image

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return screen positions [..., 2] of world points [..., 3], before the roll."""
        z = points[..., 2]
        screen = np.empty((*points.shape[:-1], 2))
        screen[..., 0] = self.centre + self.focal * (points[..., 0] / z + self.bend * z)
        screen[..., 1] = self.horizon + self.focal * (self.height - points[..., 1]) / z
        return screen


class Canvas:
    """Colour and class id in one array of four channels, so that everything is painted into picture and labels alike.

    Args:
        size: (height, width) of the finished image; the canvas is `OVERSAMPLING` times as fine.
        camera: camera that projects the world.
        haze: colour into which distant things fade.
        visibility: distance in metres at which 63 % of a thing's colour is haze.
    """

    def __init__(self, size: Size, camera: Camera, *, haze: Colour, visibility: float):
        self.camera, self._haze, self._visibility = camera, haze, visibility
        self.size, self._unit = size, size[0] * OVERSAMPLING
        self.pixels = np.zeros((size[0] * OVERSAMPLING, size[1] * OVERSAMPLING, 4), np.uint8)
        cos, sin = self._axis = math.cos(camera.roll) * self._unit, math.sin(camera.roll) * self._unit
        self._rotation = np.array([[cos, sin], [-sin, cos]])
        self._shift = np.array([camera.aspect / 2, 0.5]) @ (np.eye(2) * self._unit - self._rotation)

    def labels(self) -> RawLabels:
        """Return class ids [H, W]: one canvas pixel of each square, never a mixture."""
        return np.ascontiguousarray(self.pixels[::OVERSAMPLING, ::OVERSAMPLING, 3])

    def picture(self) -> RawImage:
        """Return the RGB image [H, W, 3]: the mean of the canvas pixels in each square."""
        return cv2.resize(self.pixels, self.size[::-1], interpolation=cv2.INTER_AREA)[..., :3]

    def locate(self, points: np.ndarray) -> np.ndarray:
        """Return canvas pixels [..., 2] of world points [..., 3]."""
        return self._pixel(self.camera.project(points))

    def shows(self, x: float, z: float, margin: float) -> bool:
        """Return True if a thing that is `margin` metres wide at (x, 0, z) may be visible."""
        camera = self.camera
        column, reach = camera.centre + camera.focal * (x / z + camera.bend * z), camera.focal * margin / z
        return -reach - 0.1 < column < camera.aspect + reach + 0.1

    def screen(self, outlines: np.ndarray, colour: Colour, kind: int) -> None:
        """Fill polygons [N, 2] or [M, N, 2] in screen coordinates, before the roll."""
        self._paint(self._pixel(outlines), self._value(colour, 0.0, kind))

    def fill(self, outlines: np.ndarray | Sequence, colour: Colour, kind: int) -> None:
        """Fill polygons [N, 3] or [M, N, 3] in world coordinates."""
        points = np.asarray(outlines, float)
        self._paint(self.locate(points), self._value(colour, points.item(2), kind))

    def stand(self, x: float, z: float, outlines: np.ndarray | Sequence, colour: Colour, kind: int) -> None:
        """Fill polygons [N, 2] or [M, N, 2], in metres right of and above the point (x, 0, z), facing the camera."""
        self._paint(self._upright(x, z, outlines), self._value(colour, z, kind))

    def stroke(self, x: float, z: float, path: np.ndarray | Sequence, width: float, colour: Colour, kind: int) -> None:
        """Draw an open path [N, 2] in the coordinates of `stand`, `width` metres wide but at least an image pixel."""
        thickness = max(OVERSAMPLING, round(width * self.camera.focal / z * self._unit))
        cv2.polylines(self.pixels, [self._upright(x, z, path)], False, self._value(colour, z, kind), thickness)

    def _pixel(self, screen: np.ndarray) -> np.ndarray:
        return (screen @ self._rotation + self._shift).astype(np.int32)

    def _upright(self, x: float, z: float, outlines: np.ndarray | Sequence) -> np.ndarray:
        camera, scale = self.camera, self.camera.focal / z
        column = camera.centre + scale * (x + camera.bend * z * z)
        row, (cos, sin), (right, down) = camera.horizon + scale * camera.height, self._axis, self._shift.tolist()
        rotation = np.array(((scale * cos, scale * sin), (scale * sin, -scale * cos)))
        foot = np.array((column * cos - row * sin + right, column * sin + row * cos + down))
        return (np.asarray(outlines, float) @ rotation + foot).astype(np.int32)

    def _paint(self, outlines: np.ndarray, value: tuple[float, float, float, int]) -> None:
        for outline in outlines if outlines.ndim == 3 else outlines[None]:
            cv2.fillPoly(self.pixels, [outline], value)  # one by one: in a single call, overlaps would be holes

    def _value(self, colour: Colour, z: float, kind: int) -> tuple[float, float, float, int]:
        clear = math.exp(-z / self._visibility)
        (r, g, b), (far_r, far_g, far_b) = colour, self._haze
        return far_r + clear * (r - far_r), far_g + clear * (g - far_g), far_b + clear * (b - far_b), kind


def rectangle(x0: float, x1: float, y0: float, y1: float) -> list[tuple[float, float]]:
    """Return the outline of an upright rectangle."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _flank(x: float, y0: float, y1: float, z0: float, z1: float) -> list[tuple[float, float, float]]:
    return [(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)]


def _panes(u0: float, u1: float, height: float, pitch: tuple[float, float], share: float) -> np.ndarray:
    """Return outlines [M, 4, 2] of a grid of windows about `pitch` metres apart on a wall from u0 to u1."""
    columns, rows = max(1, int((u1 - u0) / pitch[0])), max(1, int(height / pitch[1]))
    across, up = (u1 - u0) / columns, height / rows
    corners = np.empty((rows, columns, 4, 2))
    column, row = np.arange(columns)[:, None], np.arange(rows)[:, None, None]
    corners[..., 0] = u0 + across * (column + 0.5 + share * np.array([-0.5, 0.5, 0.5, -0.5]))
    corners[..., 1] = up * (row + np.array([0.3, 0.3, 0.8, 0.8]))
    return corners.reshape(-1, 4, 2)


def draw_building(canvas: Canvas, rng: Generator, side: int, wall: float, z0: float, z1: float) -> None:
    """Draw a house along the street from z0 to z1, its front `wall` metres to the `side` (-1 left, 1 right)."""
    low, high = (3.5, 6, 1.5, 0.35, 1.6, 2.4, 0.7, 0.2), (13, 12, 4, 0.7, 3.5, 3.3, 1.25, 0.9)
    height, depth, ridge, share, across, up, bright, dim = rng.uniform(low, high).tolist()
    colour, glass = pick_colour(rng, BUILDING), lighter(pick_colour(rng, SKY), dim)
    gable, x, back = lighter(colour, bright), side * wall, side * (wall + depth)
    if rng.random() < 0.5:
        middle, top, roof = (x + back) / 2, height + ridge, lighter(pick_colour(rng, BUILDING), 0.7)
        canvas.fill([(x, height, z0), (x, height, z1), (middle, top, z1), (middle, top, z0)], roof, BUILDING)
        canvas.fill([(x, height, z0), (middle, top, z0), (back, height, z0)], gable, BUILDING)
    canvas.fill(_flank(x, 0.0, height, z0, z1), colour, BUILDING)
    panes = _panes(z0, z1, height, (across, up), share)
    canvas.fill(np.stack([np.full_like(panes[..., 0], x), panes[..., 1], panes[..., 0]], -1), glass, BUILDING)
    if canvas.shows(x, z0, 0.0):
        canvas.stand(0.0, z0, rectangle(x, back, 0.0, height), gable, BUILDING)
        canvas.stand(0.0, z0, _panes(wall, wall + depth, height, (across, up), share) * (side, 1), glass, BUILDING)


def draw_fence(canvas: Canvas, rng: Generator, x: float, z0: float, z1: float) -> None:
    """Draw a fence along the street from z0 to z1, with slats and a rail."""
    colour, height = pick_colour(rng, FENCE), rng.uniform(0.9, 2.0)
    canvas.fill(_flank(x, 0.0, height, z0, z1), colour, FENCE)
    slats = [_flank(x, 0.0, height * 0.9, z, z + 0.2) for z in np.arange(z0, z1, rng.uniform(0.5, 1.2)).tolist()]
    canvas.fill(slats, lighter(colour, rng.uniform(0.4, 0.8)), FENCE)
    canvas.fill(_flank(x, height * 0.85, height, z0, z1), lighter(colour, rng.uniform(0.8, 1.4)), FENCE)


def draw_tree(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """Draw a trunk under an irregular crown of lighter and darker leaves."""
    low, high = (1.0, 1.2, 0.08, -0.4, 0.8, 0.55, 1.15), (2.6, 2.8, 0.2, 0.4, 1.4, 0.85, 1.5)
    radius, bare, wide, lean, tall, dark, light = rng.uniform(low, high).tolist()
    if not canvas.shows(x, z, 1.3 * radius):
        return
    colour, y = pick_colour(rng, TREE), bare + radius
    bark = lighter(pick_colour(rng, BUILDING), 0.5)
    canvas.stand(x, z, [(-wide, 0), (wide, 0), (lean + wide, y), (lean - wide, y)], bark, TREE)
    canvas.stand(x, z, CIRCLE * rng.uniform(0.8, 1.2, (14, 1)) * (radius, radius * tall) + (lean, y), colour, TREE)
    if z > 45:
        return  # too far to tell leaves apart
    leaves = CIRCLE * (0.4 * radius) + rng.uniform(-0.65, 0.65, (6, 1, 2)) * (radius, radius * tall) + (lean, y)
    canvas.stand(x, z, leaves[:3], lighter(colour, dark), TREE)
    canvas.stand(x, z, leaves[3:], lighter(colour, light), TREE)


def draw_pole(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """Draw a lamp post, sometimes with an arm over the road, or a shorter post; some carry a sign."""
    colour, tall = pick_colour(rng, POLE), rng.random() < 0.65
    height, lean = rng.uniform(4.5, 8.5) if tall else rng.uniform(2.2, 3.4), rng.uniform(-0.1, 0.1)
    path = [(0, 0), (lean, height)]
    if tall and rng.random() < 0.5:
        path.append((lean - math.copysign(rng.uniform(0.8, 2.0), x), height + rng.uniform(0, 0.4)))
    canvas.stroke(x, z, path, rng.uniform(0.1, 0.18), colour, POLE)
    if not tall or rng.random() < 0.35:
        outline = SIGNS[rng.integers(len(SIGNS))] * rng.uniform(0.35, 0.6)
        middle = (lean, rng.uniform(2.1, 2.6) if tall else height)
        canvas.stand(x, z, outline + middle, pick_colour(rng, SIGN), SIGN)
        canvas.stand(x, z, outline * rng.uniform(0.5, 0.8) + middle, pick_colour(rng, SIGN), SIGN)


def draw_car(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """Draw a car, van or bus, from behind or in front, or from the side when it crosses."""
    colour, glass = pick_colour(rng, CAR), lighter(pick_colour(rng, SKY), rng.uniform(0.15, 0.7))
    wide, long, belt, top, inset = 1.8, 4.2, rng.uniform(0.8, 1.0), rng.uniform(1.35, 1.6), 0.2
    if rng.random() < 0.2:  # van or bus
        wide, long, belt, top, inset = rng.uniform(1.9, 2.5), rng.uniform(4.5, 9), 1.1, rng.uniform(2.0, 3.2), 0.0
    if rng.random() < 0.2:
        wide, long = long, wide
    half, x0, x1, z1 = wide / 2, x - wide / 2, x + wide / 2, z + long
    near, upper = (x0, x0 + inset) if x > 0 else (x1, x1 - inset)  # the flank that may be visible
    front, rear = z + 0.75 * inset * long, z1 - inset * long
    dark, tyre = lighter(colour, rng.uniform(0.55, 0.9)), (25.0, 25.0, 28.0)
    canvas.fill([(x0, 0, z - 0.1), (x1, 0, z - 0.1), (x1, 0, z1), (x0, 0, z1)], (30.0, 30.0, 32.0), ROAD)
    canvas.fill([_flank(near, 0.0, 0.6, z + a * long, z + (a + 0.16) * long) for a in (0.08, 0.75)], tyre, CAR)
    canvas.stand(x, z, [rectangle(-half, 0.35 - half, 0.0, 0.5), rectangle(half - 0.35, half, 0.0, 0.5)], tyre, CAR)
    canvas.fill(_flank(near, 0.3, belt, z, z1), dark, CAR)
    canvas.fill([(x0, belt, z), (x1, belt, z), (x1, belt, z1), (x0, belt, z1)], lighter(colour, 1.1), CAR)
    canvas.fill([(near, belt, front), (near, belt, rear), (upper, top, rear), (upper, top, front)], glass, CAR)
    cabin = [(inset / 2 - half, belt), (half - inset / 2, belt), (half - inset, top), (inset - half, top)]
    canvas.stand(x, front, cabin, lighter(colour, 0.95), CAR)
    canvas.stand(x, front, rectangle(0.25 - half, half - 0.25, belt, belt + 0.75 * (top - belt)), glass, CAR)
    canvas.stand(x, z, rectangle(-half, half, 0.3, belt), colour, CAR)
    lamps = [rectangle(0.05 - half, 0.4 - half, 0.55, 0.75), rectangle(half - 0.4, half - 0.05, 0.55, 0.75)]
    canvas.stand(x, z, lamps, pick_colour(rng, SIGN), CAR)


def draw_pedestrian(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """Draw an adult or a child, standing or walking."""
    size, stride = max(1.0, rng.uniform(0.6, 1.6)) ** -1, 0.1 + rng.uniform(0.0, 0.35)
    trousers, coat, skin = (pick_colour(rng, PEDESTRIAN) for _ in range(3))
    legs = [[(-0.16, 0.9), (0.16, 0.9), (foot + 0.09, 0), (foot - 0.09, 0)] for foot in (-stride, stride)]
    canvas.stand(x, z, np.array(legs) * size, trousers, PEDESTRIAN)
    canvas.stand(x, z, COAT * size, coat, PEDESTRIAN)
    canvas.stand(x, z, (CIRCLE * 0.15 + (0, 1.58)) * size, skin, PEDESTRIAN)


def draw_bicyclist(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """Draw a rider on a thin frame, from the side or from behind."""
    metal, trousers, coat, skin = (pick_colour(rng, BICYCLIST) for _ in range(4))
    if rng.random() < 0.5:
        canvas.stroke(x, z, [(0, 0), (0, 0.9)], 0.08, metal, BICYCLIST)
        canvas.stroke(x, z, [(-0.32, 1.02), (0.32, 1.02)], 0.06, metal, BICYCLIST)
        canvas.stand(x, z, [rectangle(-0.2, -0.06, 0.3, 0.9), rectangle(0.06, 0.2, 0.4, 0.9)], trousers, BICYCLIST)
        canvas.stand(x, z, COAT, coat, BICYCLIST)
        canvas.stand(x, z, CIRCLE * 0.14 + (0, 1.6), skin, BICYCLIST)
        return
    flip = (1 if rng.random() < 0.5 else -1, 1)  # to the right or to the left
    for hub in (-0.55, 0.55):
        canvas.stroke(x, z, WHEEL + (hub, 0), 0.06, metal, BICYCLIST)
    canvas.stroke(x, z, FRAME * flip, 0.06, metal, BICYCLIST)
    canvas.stroke(x, z, np.array([(-0.2, 0.95), (0.15, 0.7), (0.0, 0.3)]) * flip, 0.15, trousers, BICYCLIST)
    canvas.stand(x, z, np.array([(-0.35, 0.9), (-0.05, 0.9), (0.35, 1.4), (0.1, 1.55)]) * flip, coat, BICYCLIST)
    canvas.stroke(x, z, np.array([(0.2, 1.35), (0.42, 1.05)]) * flip, 0.1, coat, BICYCLIST)
    canvas.stand(x, z, CIRCLE * 0.14 + (flip[0] * 0.35, 1.65), skin, BICYCLIST)


def draw_litter(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """Draw a thing of no class (a bin, a crate, a trolley), which is void."""
    wide, high, tilt = rng.uniform(0.25, 0.8), rng.uniform(0.5, 1.3), rng.uniform(-0.2, 0.2)
    outline = [(-wide, 0), (wide, 0), (wide * 0.8 + tilt, high), (-wide * 0.9 + tilt, high * 0.9)]
    canvas.stand(x, z, outline, pick_colour(rng, IGNORE), IGNORE)
    canvas.stand(x, z, rectangle(-0.7 * wide, 0.7 * wide, 0.3 * high, 0.5 * high), pick_colour(rng, IGNORE), IGNORE)
