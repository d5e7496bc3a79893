"""`darkroom classify`: labels for pictures."""
