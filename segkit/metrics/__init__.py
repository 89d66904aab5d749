"""Scores from confusion matrices."""
