"""Download of public datasets. No other package depends on this one."""
