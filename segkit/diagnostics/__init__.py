"""Checks and views of a config, its data and this machine."""
