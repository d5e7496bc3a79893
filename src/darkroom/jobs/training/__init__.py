"""What training verbs share: data order, seeds, checkpoints, metrics, the worker loop.

The network and the loss are a verb's own (`jobs/train/module.py`); everything here works with
any LightningModule that follows `loop.TrainableModule`.
"""
