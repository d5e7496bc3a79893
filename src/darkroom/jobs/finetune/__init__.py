"""The `finetune` verb: latent diffusion with captions, by LoRA or in full.

`module.py` is what trains, `draws.py` all that is random, `noising.py` noise levels and losses,
`adapters.py` LoRA, `export.py` the published folder, `model_card.py` its card.
"""
