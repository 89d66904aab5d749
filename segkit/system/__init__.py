"""Files, signals, failures and this machine."""
