"""Encoders, decoders and what passes between them."""
