"""Datasets, transforms, order of samples, class counts."""
