"""The `train` verb: a class-conditional diffusion model from prepared Parquet."""
