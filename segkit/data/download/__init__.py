"""Public datasets, fetched and unpacked. Nothing else depends on this."""
