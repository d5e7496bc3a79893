"""Untrusted picture files, the same for every verb: listing, reading, decoding, rejecting."""
