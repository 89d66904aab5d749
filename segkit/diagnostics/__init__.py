"""Looking at a config, its data and this machine."""
