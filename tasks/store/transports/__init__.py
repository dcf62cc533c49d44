"""Transports: every place an image can come from, behind one protocol."""
