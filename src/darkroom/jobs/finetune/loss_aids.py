"""What terms of the loss are made with besides the base: a network of features, prior pictures.

The driver finds them and refuses what does not fit before anything is written; each worker loads
them. They are parents of the run: its checkpoints go on with these alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from darkroom.errors import ConfigError, DataError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.columns import check_columns
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.finetune.loss_config import LossesConfig
from darkroom.jobs.training.dataset import TrainingData
from darkroom.models.find import FoundModel, find_model
from darkroom.storage import Parent, open_artifact

if TYPE_CHECKING:
    from darkroom.jobs.finetune.config import FinetuneConfig
    from darkroom.jobs.finetune.prior import PriorRows
    from darkroom.models.feature_network import FeatureNetwork

NETWORK_FIELD = "losses.perceptual.network"
PRIOR_FIELD = "losses.prior_preservation.input"


@dataclass(frozen=True)
class LossAids:
    """A light value, for the driver and the workers."""

    network: FoundModel | None = None
    """Of the perceptual term."""
    prior: TrainingData | None = None
    """Of prior preservation."""

    def parents(self) -> Iterator[Parent]:
        """What a run goes on over."""
        if self.network is not None:
            yield self.network.as_parent("perceptual")
        if self.prior is not None:
            yield self.prior.dataset.artifact.as_parent("prior")

    def check(self, config: FinetuneConfig, data: TrainingData) -> None:
        """Errors: InputError for what cannot be loaded, or does not suit the data."""
        if config.losses.custom is not None:
            from darkroom.jobs.finetune.custom_loss import FIELD
            from darkroom.jobs.named_function import find_function

            find_function(FIELD, config.losses.custom.function)
        compute, on_gpu = config.compute, config.workers.use_gpu
        if self.network is not None and on_gpu and compute.deterministic:
            raise ConfigError(
                "compute.deterministic", "true",
                "resizing and pooling in losses.perceptual have no deterministic gradient on GPUs",
                "set it to false",
            )  # fmt: skip
        if self.prior is not None:
            _check_prior(self.prior, config, data)
        self.features()

    def features(self) -> FeatureNetwork | None:
        """The perceptual term's network."""
        if self.network is None:
            return None
        from darkroom.models.feature_network import load_feature_network

        with self.network.local() as folder:
            return load_feature_network(folder, field=NETWORK_FIELD, name=self.network.name)

    def prior_rows(self, config: FinetuneConfig) -> PriorRows | None:
        """The rows beside each batch."""
        if self.prior is None:
            return None
        from darkroom.jobs.finetune.prior import PriorRows

        return PriorRows(self.prior, config)


def find_aids(losses: LossesConfig) -> LossAids:
    """All that the terms ask for. Errors: as `find_model`; DataError for prior pictures that
    are none, and those of storage."""
    network, prior = losses.perceptual, losses.prior_preservation
    return LossAids(
        None if network is None else find_model(network.network, field=NETWORK_FIELD),
        None if prior is None else _find_prior(prior.input),
    )


def _find_prior(uri: str) -> TrainingData:
    artifact = open_artifact(uri, kind=Kind.DATASET)
    dataset = Dataset.of(artifact, field=PRIOR_FIELD)
    check_columns(artifact, None, field=PRIOR_FIELD, columns=("id", "image", "caption"))
    num_rows = dataset.row_groups("train").num_rows
    if not num_rows:
        raise DataError(PRIOR_FIELD, uri, "has no picture in its training split", "prepare some")
    return TrainingData(dataset, dataset.shape(), num_rows, has_validation=False)


def _check_prior(prior: TrainingData, config: FinetuneConfig, data: TrainingData) -> None:
    if config.cache is not None:
        raise ConfigError(
            "losses.prior_preservation", None,
            "its pictures are encoded as they are met, and a cache leaves the VAE out",
            "leave out one of the two",
        )  # fmt: skip
    theirs, ours = (sorted({*each.sizes}) for each in (prior, data))
    if len(ours) > 1 or theirs != ours or prior.channels != data.channels:
        sizes = [", ".join(f"{h} x {w}" for h, w in each[:4]) for each in (theirs, ours)]
        raise DataError(
            PRIOR_FIELD, prior.uri,
            f"has pictures of {prior.channels} x {sizes[0]}, and the input's are "
            f"{data.channels} x {sizes[1]}",
            "prepare both with one image_size, without buckets",
        )  # fmt: skip
