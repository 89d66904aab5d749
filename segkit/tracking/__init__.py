"""Run folders, trackers and progress."""
