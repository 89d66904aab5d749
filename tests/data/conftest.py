"""Lets tests in the folders below import what stands here: png_writer, planted ..."""
