"""Our figures against those of torch-fidelity and clean-fid, from the same features."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.metrics.frechet import frechet_distance, frechet_distance_of_rows, moments_of
from darkroom.metrics.gaussian_kernel import gaussian_kernel_distance
from darkroom.metrics.kernel import kernel_distance
from darkroom.metrics.neighbourhoods import neighbourhoods

NEIGHBOURS = 3


@pytest.fixture(scope="module")
def features() -> Any:
    random = np.random.default_rng(0)
    scales = 1 / np.sqrt(np.arange(1, 65))
    a = random.normal(0.1, 1, (240, 64)) * scales
    b = random.normal(0.0, 1, (300, 64)) * scales
    return a.astype(np.float32), b.astype(np.float32)


def fidelity(module: str) -> Any:
    return importlib.import_module(f"torch_fidelity.{module}")


def test_fid_is_torch_fidelitys(features: Any) -> None:
    a, b = features
    metric = fidelity("metric_fid")
    statistics = [metric.fid_features_to_statistics(torch.from_numpy(rows)) for rows in (a, b)]
    theirs = metric.fid_statistics_to_metric(*statistics, verbose=False)
    theirs = theirs["frechet_inception_distance"]
    assert frechet_distance(moments_of(a), moments_of(b)) == pytest.approx(theirs, rel=1e-5)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # its own
@pytest.mark.skipif(
    importlib.util.find_spec("cleanfid") is None,
    reason="clean-fid needs a scipy that Python 3.12 and later have not",
)
def test_fid_is_clean_fids(features: Any) -> None:
    from cleanfid.fid import fid_from_feats

    a, b = features
    theirs = fid_from_feats(a.astype(np.float64), b.astype(np.float64))
    assert frechet_distance(moments_of(a), moments_of(b)) == pytest.approx(theirs, rel=1e-5)


def test_kid_is_torch_fidelitys(features: Any) -> None:
    a, b = features
    metric = fidelity("metric_kid")
    # One subset of everything: there is nothing to draw.
    a = a[:240]
    b = b[:240]
    theirs = metric.kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=1, kid_subset_size=240,
        kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1, kid_kernel_rbf_sigma=10, rng_seed=0, verbose=False,
    )["kernel_inception_distance_mean"]  # fmt: skip
    assert kernel_distance(a, b).value == pytest.approx(theirs, abs=1e-6)


def test_precision_and_recall_are_torch_fidelitys(features: Any) -> None:
    a, b = features
    metric = fidelity("metric_prc")
    theirs = metric.prc_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), prc_neighborhood=NEIGHBOURS,
        prc_batch_size=100, save_cpu_ram=True, verbose=False,
    )  # fmt: skip
    found = neighbourhoods(a, b, num_neighbours=NEIGHBOURS)
    # Theirs are means of float32.
    assert round(found.precision * len(a)) == round(theirs["precision"] * len(a))
    assert round(found.recall * len(b)) == round(theirs["recall"] * len(b))
    assert 0.2 < found.precision < 1


def test_identical_sets_are_at_zero(features: Any) -> None:
    rows = features[0]
    assert frechet_distance(moments_of(rows), moments_of(rows)) < 1e-9
    assert frechet_distance_of_rows(rows, rows) < 1e-9
    assert gaussian_kernel_distance(rows, rows) == pytest.approx(0, abs=1e-9)
