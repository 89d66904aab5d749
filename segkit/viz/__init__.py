"""Colours and pictures."""
