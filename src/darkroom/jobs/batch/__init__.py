"""Rows in pieces, each committed once: what batch verbs share (docs/batch.md)."""
