"""Where a worker's model may run, and how much memory it may take."""

from __future__ import annotations

import pytest
import torch

from darkroom.errors import ConfigError
from darkroom.jobs.drawing.config import DrawingConfig, WorkerConfig
from darkroom.jobs.drawing.device import prepare_device, tune
from darkroom.jobs.drawing.memory import MIB, check_share, gpu_share, loaded_bytes


def test_a_share_of_a_gpu_is_a_share_of_its_memory() -> None:
    assert [gpu_share(number) for number in (0.0, 0.3, 1.0, 4.0)] == [1.0, 0.3, 1.0, 1.0]
    check_share(300 * MIB, 1000 * MIB, 0.3, prefix="draw.")
    check_share(None, 1000 * MIB, 0.3, prefix="draw.")
    with pytest.raises(ConfigError, match=r"draw\.num_gpus.*300 MiB of the GPU's 1000.*301 MiB"):
        check_share(301 * MIB, 1000 * MIB, 0.3, prefix="draw.")


def test_half_precision_loads_half_the_bytes() -> None:
    assert loaded_bytes(WorkerConfig(), 100) == 100
    assert loaded_bytes(WorkerConfig(precision="float16"), 100) == 50
    assert loaded_bytes(WorkerConfig(precision="float16"), None) is None


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    assert prepare_device(WorkerConfig(num_cpus=float(threads))).type == "cpu"
    assert torch.get_num_threads() == threads
    with pytest.raises(ConfigError, match=r"draw\.device.*no GPU is visible"):
        prepare_device(WorkerConfig(device="cuda", num_gpus=0.5), prefix="draw.")


def test_channels_last_is_a_layout_of_the_weights() -> None:
    network = torch.nn.Conv2d(4, 4, 3)
    tune(network, DrawingConfig())
    assert network.weight.is_contiguous()
    tune(network, DrawingConfig(channels_last=True))
    assert network.weight.is_contiguous(memory_format=torch.channels_last)
