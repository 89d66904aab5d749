"""Our scores against those of segmentation-models-pytorch, on random labels with void."""

import numpy as np
import pytest
import torch
from segmentation_models_pytorch.metrics import accuracy, get_stats, iou_score, recall

from segkit.metrics.confusion import confusion_matrix, scores
from segkit.tensors import IGNORE

K = 6


def split(classes, *, images=4):
    """Predictions and labels [N, H, W] of these classes, a fifth of the labels void."""
    generator = torch.Generator().manual_seed(len(classes))
    known = torch.tensor(classes)
    labels = known[torch.randint(len(known), (images, 24, 32), generator=generator)]
    wrong = known[torch.randint(len(known), labels.shape, generator=generator)]
    predicted = torch.where(torch.rand(labels.shape, generator=generator) < 0.6, labels, wrong)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = IGNORE
    return predicted, labels


def stats(predicted, labels):
    return get_stats(predicted, labels, mode="multiclass", ignore_index=IGNORE, num_classes=K)


def test_scores_over_a_split_agree_where_every_class_occurs():
    predicted, labels = split(range(K))
    ours, theirs = scores(confusion_matrix(predicted, labels, K).numpy()), stats(predicted, labels)
    assert ours.mean_iou == pytest.approx(float(iou_score(*theirs, reduction="macro")))
    assert ours.class_average_accuracy == pytest.approx(float(recall(*theirs, reduction="macro")))
    tp, _, fn, _ = theirs  # smp's accuracy counts true negatives of each class; ours is recall over all pixels
    assert ours.global_accuracy == pytest.approx(float(tp.sum() / (tp + fn).sum()))
    assert float(accuracy(*theirs, reduction="micro")) > ours.global_accuracy


def test_scores_of_each_image_agree_and_their_mean_is_another_number():
    predicted, labels = split(range(K))
    each = [scores(confusion_matrix(p, t, K).numpy()).mean_iou for p, t in zip(predicted, labels, strict=True)]
    imagewise = float(iou_score(*stats(predicted, labels), reduction="macro-imagewise"))
    assert np.mean(each) == pytest.approx(imagewise)
    assert imagewise != pytest.approx(scores(confusion_matrix(predicted, labels, K).numpy()).mean_iou, abs=1e-6)
