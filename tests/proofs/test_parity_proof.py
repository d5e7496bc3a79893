"""Proof: figures of the same photographs and network are those of torch-fidelity.

FID, KID, precision and recall, 40 crops of four photographs against 40 others. The Inception is
random and calibrated, as its real weights are in no registry.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.helpers.feature_networks import Images, calibrated_inception, photograph_crops
from tests.helpers.proof import keep

from darkroom.config import build_config
from darkroom.jobs.drawing.config import WorkerConfig
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.networks import find_networks
from darkroom.metrics.frechet import frechet_distance, moments_of
from darkroom.metrics.kernel import kernel_distance
from darkroom.metrics.neighbourhoods import neighbourhoods

NUM = 40


class Pictures(torch.utils.data.Dataset[torch.Tensor]):
    """As torch-fidelity takes them."""

    def __init__(self, images: Images) -> None:
        self._images = torch.from_numpy(images)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self._images[index]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calibrated_inception(tmp_path_factory.mktemp("inception") / "weights.pth")


def test_figures_are_those_of_torch_fidelity(weights: Path) -> None:
    import torch_fidelity

    a, b = photograph_crops(NUM, 1), photograph_crops(NUM, 2)
    values = {"networks": {"inception": {"weights": str(weights)}, "batch_size": 20}}
    (extractor,) = find_networks(build_config(MeasuringConfig, values), ("inception",))
    extract = extractor.load(WorkerConfig())
    ours_a, ours_b = (extract(x, [None] * NUM)["inception"] for x in (a, b))
    fid = frechet_distance(moments_of(ours_a), moments_of(ours_b))
    kid = kernel_distance(ours_a, ours_b).value
    found = neighbourhoods(ours_a, ours_b, num_neighbours=3)

    theirs = torch_fidelity.calculate_metrics(
        input1=Pictures(a), input2=Pictures(b), fid=True, kid=True, prc=True, kid_subset_size=NUM,
        kid_subsets=1, feature_layer_prc="2048", cuda=False, batch_size=20, save_cpu_ram=True,
        cache=False, verbose=False, feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
    )  # fmt: skip
    their_fid = theirs["frechet_inception_distance"]
    their_kid = theirs["kernel_inception_distance_mean"]
    keep(
        "parity-torch-fidelity",
        [
            {"fid": fid, "theirs": their_fid, "relative": fid / their_fid - 1},
            {"kid": kid, "theirs": their_kid, "relative": kid / their_kid - 1},
            {"precision": found.precision, "theirs": theirs["precision"]},
            {"recall": found.recall, "theirs": theirs["recall"]},
        ],
    )
    assert fid == pytest.approx(their_fid, rel=1e-5)
    assert kid == pytest.approx(their_kid, abs=1e-6)
    assert round(found.precision * NUM) == round(theirs["precision"] * NUM)
    assert round(found.recall * NUM) == round(theirs["recall"] * NUM)
