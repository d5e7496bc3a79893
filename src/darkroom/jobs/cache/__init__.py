"""`darkroom cache`: pictures to latents and captions to embeddings, once for all epochs."""
