"""Batch inference, exactly once: what `classify` and `generate` share (docs/batch.md)."""
