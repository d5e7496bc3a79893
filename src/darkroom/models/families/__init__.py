"""Families of latent diffusion models: data, and a few functions each.

`family.py` says what a family is, one module each describes Stable Diffusion, SDXL, SD3 and FLUX,
`find.py` tells which one a folder is of, `base.py` holds a loaded model and `latents.py` takes
pictures into its latents and back. Text is encoded and pictures are drawn by diffusers' own
pipelines. Imports no Ray.
"""
