"""One encoder family, one file."""
