"""Tables, charts and pictures as W&B shows them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import wandb
from wandb.plot.custom_chart import CustomChart

from segkit.tracking.tracker import Picture


def class_table(class_names: Sequence[str], scores: dict[str, Any]) -> wandb.Table:
    """IoU and accuracy of each class, 0..1; empty where a class does not occur."""
    rows = zip(class_names, scores["iou"], scores["accuracy"], strict=True)
    data: list[Any] = [
        [name, *(None if value is None or value != value else value for value in values)] for name, *values in rows
    ]
    return wandb.Table(columns=["class", "iou", "accuracy"], data=data)


def confusion_chart(class_names: Sequence[str], matrix: np.ndarray) -> CustomChart:
    """W&B's chart of a confusion matrix [K, K] (rows = label), in per cent of the label's pixels.

    wandb.plot.confusion_matrix wants a pair of class ids for every pixel; this is the table that it would make of them.
    """
    shares = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    data: list[Any] = [
        [label, predicted, round(float(shares[i, j]), 2), int(matrix[i, j])]
        for i, label in enumerate(class_names)
        for j, predicted in enumerate(class_names)
    ]
    return wandb.plot_table(
        data_table=wandb.Table(columns=["Actual", "Predicted", "nPredictions", "pixels"], data=data),
        vega_spec_name="wandb/confusion_matrix/v1",
        fields={"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"},
        string_fields={"title": "test, per cent of the label's pixels"},
    )


def masked_image(picture: Picture, class_names: Sequence[str]) -> wandb.Image:
    """The image under switchable masks of prediction and label, in W&B's colours.

    A mask holds class id + 1, and 0 is void: W&B's viewer has treated 0 as nothing to show (wandb #977).
    """
    names = {0: "void"} | dict(enumerate(class_names, start=1))
    masks = {
        key: {"mask_data": labels + np.uint8(1), "class_labels": names}  # 255 becomes 0
        for key, labels in (("prediction", picture.predicted), ("ground_truth", picture.labels))
    }
    return wandb.Image(picture.image, masks=masks, caption=picture.name)
