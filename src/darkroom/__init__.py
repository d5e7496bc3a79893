"""Darkroom: image diffusion models on Ray clusters, with S3 as the only storage."""

__version__ = "0.1.0"
