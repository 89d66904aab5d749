"""Transforms from samples to network inputs."""
