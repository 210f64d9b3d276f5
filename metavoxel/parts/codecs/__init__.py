"""Codecs: encoding of a variable's data to the code that is diffused, and decoding."""
