"""Image and label files, decoded or refused."""
