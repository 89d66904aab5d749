"""Training, evaluation, inference."""
