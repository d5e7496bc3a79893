"""The `tune` verb: config.py is what it is told, job.py what it does."""
