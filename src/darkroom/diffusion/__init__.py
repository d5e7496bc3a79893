"""Pixel-space Gaussian diffusion, written to be read beside the papers.

    config.py      the typed choice of schedule and prediction type (no torch)
    schedule.py    beta_t, alpha-bar_t, SNR(t), q(x_t | x_0)
    objective.py   what the network predicts, how it is weighted, the training loss
    guidance.py    classifier-free guidance and label dropout
    noise.py       each image's own noise, whatever the batch it is drawn in
    sampler.py     DDPM, DDIM and DPM-Solver++ behind one signature

Assumes images scaled to [-1, 1] and shaped (B, C, H, W), and a denoiser that maps (x_t, t_B)
to a tensor like x_t. Timesteps count 0 .. T-1, so t here is the papers' t - 1. Nothing here
reads or writes anything, knows of Ray, or holds a network; callers bring the network.

Legend: B batch, T number of timesteps, beta_t variance added at step t, alpha-bar_t the
product of (1 - beta) up to t, eps the noise, x0 the clean image.
"""
