"""Histograms by block: of all values, before clipping, there and back, and in TensorBoard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from darkroom.jobs.training.block_histograms import histograms
from darkroom.jobs.training.histogram_log import EDGES, BlockHistogram, HistogramLog
from darkroom.jobs.training.metrics_log import MetricsLog


def taken(
    step: int = 5, limit: float | None = 0.1
) -> tuple[dict[str, np.ndarray], list[BlockHistogram]]:
    """The values, by name, and their histograms."""
    torch.manual_seed(step)
    names = ("net.a.weight", "net.a.bias", "net.b.weight")
    trained = {name: nn.Parameter(torch.randn(50) * 10.0**-at) for at, name in enumerate(names)}
    for name in names[:2]:
        trained[name].grad = torch.randn(50)
    values = {f"weights/{name}": each.detach().numpy().copy() for name, each in trained.items()}
    values |= {
        f"gradients/{name}": each.grad.numpy().copy()
        for name, each in trained.items()
        if each.grad is not None
    }
    norm = torch.nn.utils.clip_grad_norm_(trained.values(), limit or float("inf"))
    return values, histograms(step, trained, grad_norm=norm, max_grad_norm=limit)


@pytest.mark.parametrize("limit", [None, 0.1])
def test_each_block_has_all_its_values_before_clipping(limit: float | None) -> None:
    values, found = taken(limit=limit)
    assert [each.name for each in found] == ["gradients/net.a", "weights/net.a", "weights/net.b"]
    for each in found:
        block = np.concatenate([v for name, v in values.items() if name.startswith(each.name)])
        assert each.num == len(block)
        assert each.least == pytest.approx(block.min(), rel=1e-4)
        assert each.most == pytest.approx(block.max(), rel=1e-4)
        assert each.sum == pytest.approx(block.sum(dtype=float), rel=1e-3)
        assert each.sum_squares == pytest.approx(np.square(block, dtype=float).sum(), rel=1e-3)
    weights = np.concatenate([values["weights/net.a.weight"], values["weights/net.a.bias"]])
    expected, _ = np.histogram(weights, [-np.inf, *np.nextafter(EDGES, np.inf), np.inf])
    assert found[1].counts == expected.tolist()


def test_values_beyond_the_edges_and_zeros_are_counted() -> None:
    weight = nn.Parameter(torch.tensor([-1e9, 0.0, 1e9]))
    (found,) = histograms(1, {"a.b": weight}, grad_norm=torch.zeros(()), max_grad_norm=1.0)
    assert found.num == 3
    assert (found.counts[0], found.counts[len(EDGES) // 2], found.counts[-1]) == (1, 1, 1)


def test_a_redone_step_replaces_what_it_took(tmp_path: Path) -> None:
    log = MetricsLog()
    log.add(5, loss=1.0)
    for step in (5, 10, 5):
        log.spread.add(step, taken(step)[1])
    log.write(tmp_path)
    again = MetricsLog.read(tmp_path)
    assert again.spread.histograms == log.spread.histograms == taken(5)[1]
    assert HistogramLog.from_bytes(log.spread.to_bytes()).histograms == log.spread.histograms


def test_tensorboard_shows_them(tmp_path: Path) -> None:
    log = MetricsLog()
    log.spread.add(5, taken()[1])
    events = EventAccumulator(str(log.write_tensorboard(tmp_path)), size_guidance={"histograms": 0})
    events.Reload()
    assert events.Tags()["histograms"] == [each.name for each in log.spread.histograms]
    (shown,) = events.Histograms("weights/net.b")
    assert shown.step == 5
    assert shown.histogram_value.num == 50
