"""`darkroom prepare`: pictures in, checked and encoded Parquet out."""
