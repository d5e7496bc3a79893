"""Models and their weights: found, named by a digest, brought to this machine, loaded.

A name is a path, an `s3://` URI, a hub id, or one of torchvision's or timm's. Imports no Ray.
"""
