"""Datasets, transforms, order, class counts."""
