"""From files to what the network sees."""
