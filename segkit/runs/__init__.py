"""One run: trained, scored, used."""
