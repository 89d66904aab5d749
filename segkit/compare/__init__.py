"""From run folders to comparisons."""
