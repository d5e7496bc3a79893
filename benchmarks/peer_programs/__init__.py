"""Programs of the peers: each is asked to work by `benchmarks/peers.py`, in their environment.

They know nothing of Darkroom.
"""
