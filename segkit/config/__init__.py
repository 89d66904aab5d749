"""Config files: read, resolved, checked."""
