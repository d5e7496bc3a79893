"""Training, for every verb that trains: one room behind `Trainable`.

The network, the loss and the published form are a verb's own (`jobs/train/`); data order, seeds,
the worker loop, checkpoints, resuming, metrics, the driver and how a run ends stand here.
"""
