"""Sampling by Gumbel noise is sampling from the softmax, and each row has its own."""

from __future__ import annotations

import numpy as np
import torch

from darkroom.jobs.generate.sampling import RowGumbel, TopP, gumbel

NO_TOKENS = torch.zeros(1, 0, dtype=torch.long)


def test_the_largest_noisy_logit_is_distributed_as_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    temperature = 0.7
    seeds = range(20_000)
    sample = RowGumbel(seeds, temperature=temperature, prompt_length=0)
    tokens = sample(NO_TOKENS.repeat(len(seeds), 1), logits.repeat(len(seeds), 1)).argmax(-1)
    shares = torch.bincount(tokens, minlength=4) / len(seeds)
    expected = (logits / temperature).softmax(-1)
    assert torch.allclose(shares, expected, atol=0.012)


def test_noise_belongs_to_the_row_and_the_position() -> None:
    scores = torch.zeros(3, 8)
    together = RowGumbel([5, 6, 7], temperature=1, prompt_length=2)
    alone = RowGumbel([6], temperature=1, prompt_length=40)
    ids = torch.zeros(3, 4, dtype=torch.long)  # two tokens after a prompt of two
    there = together(ids, scores)[1]
    here = alone(torch.zeros(1, 42, dtype=torch.long), scores[:1])[0]
    assert torch.equal(there, here), "neither neighbours nor padding matter"
    assert not torch.equal(there, together(ids[:, :3], scores)[1])
    assert np.isfinite(gumbel(1, 1, 100_000)).all()


def test_top_p_keeps_the_likeliest_tokens_that_reach_it() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    for top_p, kept in ((0.4, 1), (0.6, 2), (0.8, 2), (0.9, 3), (0.999, 4)):
        left = TopP(top_p, temperature=1)(NO_TOKENS, logits).isfinite().sum().item()
        assert left == kept, top_p
    hot = TopP(0.6, temperature=100)(NO_TOKENS, logits).isfinite().sum().item()
    assert hot == 3, "the temperature flattens before the cut"
