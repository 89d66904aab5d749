"""Pictures of samples, and of what runs predicted for them."""

from collections.abc import Sequence

from segkit.compare.collect import Method
from segkit.compare.figures import Drawing
from segkit.compare.stored import Predicted
from segkit.data.dataset import Dataset
from segkit.viz.figures import side_by_side


def samples_picture(dataset: Dataset, indices: Sequence[int]) -> Drawing:
    """Some samples as they are on disk: image and labels."""
    samples = [dataset[index] for index in indices]
    rows = [(sample.image, sample.labels, {}) for sample in samples]
    figure = side_by_side(rows, class_names=dataset.class_names, palette=dataset.palette)
    return Drawing("samples", figure, f"Samples {', '.join(sample.id for sample in samples)}.")


def predictions_picture(methods: Sequence[Method], rows: Sequence[Predicted], dataset: Dataset) -> Drawing:
    """Test images, their labels, and what the first run of each method predicted.

    Args:
        rows: images with one prediction per method.
        dataset: the test split, for names and colours of its classes.
    """
    titles = [method.title for method in methods]
    shown = [(row.sample.image, row.sample.labels, dict(zip(titles, row.predictions, strict=True))) for row in rows]
    figure = side_by_side(shown, class_names=dataset.class_names, palette=dataset.palette)
    return Drawing("predictions", figure, f"Test images {', '.join(row.sample.id for row in rows)}.")
