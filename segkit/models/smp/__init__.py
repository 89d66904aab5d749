"""Models and encoders of segmentation-models-pytorch."""
