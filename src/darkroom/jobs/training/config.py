"""Config that training verbs share: optimizer, rates, EMA, validation, checkpoints, workers.

`batch_size` is the number of images behind one optimizer step, over all workers, so a run means
the same on one GPU, on three and on eight. Fields marked operational change how a run proceeds
and not what it computes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from darkroom.config import (
    Config,
    Fraction,
    JobConfig,
    NonNegativeFloat,
    Place,
    PositiveFloat,
    PositiveInt,
    added,
    operational,
)
from darkroom.jobs.pictures.config import ColorJitterConfig, RandomCropConfig
from darkroom.jobs.reservation import reserved_cpus


class OptimizerConfig(Config):
    """Which optimizer, and gradient handling."""

    name: Literal["adamw", "adamw_8bit", "prodigy"] = "adamw"
    """adamw: fused on GPUs. adamw_8bit: moments of 8 bits, on GPUs, with bitsandbytes installed.
    prodigy: finds its step size by itself; set learning_rate to 1."""
    learning_rate: PositiveFloat = 2e-4
    """Peak learning rate."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """beta1 and beta2."""
    eps: PositiveFloat = 1e-8
    """Epsilon of the denominator."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay."""
    max_grad_norm: PositiveFloat | None = 1.0
    """Gradients are clipped to this global norm; null for no clipping."""
    accumulation_steps: Annotated[PositiveInt, operational()] = 1
    """Micro-batches that a worker's share of the batch is computed in, one after the other; more
    where memory does not suffice."""


class LrScheduleConfig(Config):
    """Learning rate over optimizer steps, always after an optional linear warm-up."""

    kind: Literal["constant", "linear", "cosine", "step", "plateau"] = "constant"
    """Shape after warm-up; linear and cosine end at final_scale on the last step."""
    warmup_steps: Annotated[int, Field(ge=0)] = 500
    """Steps of linear warm-up from 0."""
    final_scale: Fraction = 0.0
    """Share of the peak that linear and cosine end at."""
    step_every: PositiveInt = 10_000
    """step: every so many steps the rate is multiplied by `factor`."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """step and plateau: the multiplier."""
    patience: PositiveInt = 5
    """plateau: validations without improvement before the rate drops."""


class EmaConfig(Config):
    """Exponential moving average of the weights; what is validated and published."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9999
    """Upper bound of the decay."""
    warmup_power: PositiveFloat = 0.75
    """Warm-up: decay at step n is 1 - (1 + n) ** -power, up to `decay`."""


class ValidationConfig(Config):
    """Loss of the EMA weights on fixed images, with fixed noise and fixed timesteps."""

    every_steps: PositiveInt = 500
    """Optimizer steps between validations; one more before the first step and one at the end."""
    num_images: PositiveInt = 256
    """At most so many images of the validation split; none of it means no validation."""
    early_stopping_patience: PositiveInt | None = None
    """Stop after so many validations without improvement; null for never."""
    min_delta: NonNegativeFloat = 0.0
    """What counts as an improvement."""


class CheckpointConfig(Config):
    """When checkpoints are published and which are kept."""

    every_steps: Annotated[PositiveInt | None, operational()] = 1000
    """Optimizer steps between checkpoints; null for none by steps."""
    every_minutes: Annotated[PositiveFloat | None, operational()] = None
    """Minutes between checkpoints; null for none by time."""
    keep_last: Annotated[PositiveInt, operational()] = 3
    """The newest so many are kept; the best by validation loss is kept besides."""
    asynchronous: Annotated[bool, operational()] = True
    """Upload while training goes on; false waits for each upload."""


class ComputeConfig(Config):
    """Speed switches. The defaults run anywhere; GPU recipes turn them on."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """bfloat16 and float16 are mixed precision: weights and optimizer state stay float32.
    float16, for GPUs without bfloat16, scales the loss and skips steps that overflow."""
    channels_last: bool = False
    """Memory format of weights and images; faster convolutions on GPUs."""
    compile: bool = False
    """torch.compile the U-Net; needs a C++ compiler at run time."""
    sdpa: bool = True
    """torch's scaled_dot_product_attention; false is the plain attention."""
    deterministic: bool = True
    """Deterministic kernels: a resumed run ends with bit-identical weights on CPU. See
    docs/verbs/train.md for what it costs."""
    num_threads: PositiveInt = 1
    """CPU threads per worker inside torch."""


class DataConfig(Config):
    """How the prepared data is fed."""

    ingest: Literal["exact", "ray_data"] = "exact"
    """exact: each worker reads and decodes its own rows, and a resume goes on at the very row.
    ray_data: Ray Data decodes on spare CPUs and streams to the workers, and a resume starts the
    epoch anew. See docs/verbs/train.md for when to take which."""
    shuffle_window: PositiveInt = 16
    """Row groups shuffled together. exact: the whole order is a function of seed and epoch."""
    order: Annotated[Literal["drawn", "computed"], added()] = "drawn"
    """How an epoch orders the row groups, for exact. drawn: a permutation, held in memory.
    computed: a function of the place, nothing held, for hundreds of millions of rows. The rows come
    in another order, shuffled as well; a run keeps the one that it was begun with."""
    cache_mb: Annotated[int, operational(ge=0)] = 512
    """Decoded images are kept in memory when the whole split fits in so many MB per worker."""
    horizontal_flip: bool = False
    """Mirror half of the images at random, seeded like everything else."""
    crop: RandomCropConfig | None = None
    """Crop each image at random in every epoch; null for none."""
    color_jitter: ColorJitterConfig | None = None
    """Change each image's colours at random in every epoch; null for none."""

    @property
    def cache_bytes(self) -> int:
        """`cache_mb` in bytes."""
        return self.cache_mb * 1024**2


class WorkersConfig(Config):
    """Ray Train workers; none of this changes what a step computes, and a run may resume on more
    or fewer."""

    num_workers: Annotated[int, operational(ge=0)] = 1
    """Data-parallel workers, at most batch_size; their shares of a batch may differ by a row.
    0 trains in the driver's own process (Ray Train's local mode), for a debugger; nothing is
    started again there."""
    use_gpu: Annotated[bool, operational()] = False
    """One GPU per worker."""
    cpus_per_worker: Annotated[NonNegativeFloat | None, operational()] = None
    """Ray's logical CPUs per worker; null is 1, or 0 beside a GPU."""
    max_failures: Annotated[int, operational(ge=-1)] = 8
    """Worker-group restarts before the run gives up; -1 for no limit."""
    hang_timeout_seconds: Annotated[PositiveFloat, operational()] = 120.0
    """A worker silent for so long is named, killed and restarted."""
    sharding: Annotated[Literal["none", "fsdp2"], operational()] = "none"
    """none: every worker holds the whole network. fsdp2: each holds a share of all weights,
    gradients, moments and averages, for networks that do not fit into one GPU."""
    collective_timeout_seconds: Annotated[PositiveInt, operational()] = 600
    """No rank waits longer than this for another in a collective operation."""

    @property
    def num_ranks(self) -> int:
        """Processes that share out a batch."""
        return max(1, self.num_workers)

    @property
    def all_cpus(self) -> float:
        """What all workers together reserve."""
        return self.num_workers * self.resources_per_worker.get("CPU", 0.0)

    @property
    def resources_per_worker(self) -> dict[str, float]:
        """What Ray reserves for each worker."""
        num_gpus = float(self.use_gpu)
        cpus = reserved_cpus(self.cpus_per_worker, num_gpus)
        return {name: count for name, count in (("CPU", cpus), ("GPU", num_gpus)) if count}

    @model_validator(mode="after")
    def _reserves_something(self) -> WorkersConfig:
        if not self.resources_per_worker:
            raise ValueError("cpus_per_worker is 0 without a GPU; a worker needs one of them")
        return self


class InitFromConfig(Config):
    """A new run that starts where another has come to. Learning rates and schedule are the new
    config's; early stopping and plateau begin anew."""

    uri: Annotated[Place, operational()]
    """A published run, or one of its checkpoints; its digest, not this name, identifies it."""
    steps: Literal["continue", "restart"] = "continue"
    """continue: "train longer": steps, schedule and the order of the data go on where that run
    stands, and max_steps counts from its beginning. restart: all begin at 0."""
    weights: Literal["trained", "averaged"] = "trained"
    """The weights as they are trained, or the average (EMA) that was published."""
    optimizer: Literal["keep", "fresh"] = "keep"
    """Moments of the optimizer."""
    ema: Literal["keep", "fresh"] = "keep"
    """The average; a fresh one begins at the weights."""


class TrainingConfig(JobConfig):
    """What every training verb's config has."""

    input: Annotated[Place, operational()]
    """URI of a dataset that `prepare` published; its digest, not this name, identifies it."""
    init_from: InitFromConfig | None = None
    """Start from another run's checkpoint; null starts from nothing."""
    max_steps: PositiveInt = 100_000
    """Optimizer steps in all."""
    batch_size: PositiveInt = 128
    """Images per optimizer step, over all workers."""
    limit: PositiveInt | None = None
    """Train on at most so many rows, for a quick look."""
    log_every_steps: Annotated[PositiveInt, operational()] = 50
    """Optimizer steps between rows of the metrics log."""
    histograms_every_steps: Annotated[PositiveInt | None, operational()] = None
    """Optimizer steps between histograms of weights and gradients by block, in TensorBoard; null
    for none."""
    export: Literal["last", "best"] = "last"
    """Which checkpoint's EMA weights become the model."""
    optimizer: OptimizerConfig = OptimizerConfig()
    lr_schedule: LrScheduleConfig = LrScheduleConfig()
    ema: EmaConfig = EmaConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    compute: ComputeConfig = ComputeConfig()
    data: DataConfig = DataConfig()
    workers: WorkersConfig = WorkersConfig()

    @property
    def largest_share(self) -> int:
        """Images of a batch that one worker has at most."""
        return -(-self.batch_size // self.workers.num_ranks)

    @property
    def micro_batch_size(self) -> int:
        """Images of one forward pass, where memory suffices."""
        return -(-self.largest_share // self.optimizer.accumulation_steps)

    @model_validator(mode="after")
    def _batch_is_shared_out(self) -> TrainingConfig:
        if self.batch_size < self.workers.num_workers:
            raise ValueError(
                f"batch_size {self.batch_size} leaves some of the {self.workers.num_workers} "
                f"workers without an image; raise it or lower workers.num_workers"
            )
        return self

    @model_validator(mode="after")
    def _has_workers_for_ray_data(self) -> TrainingConfig:
        if self.data.ingest == "ray_data" and self.workers.num_workers == 0:
            raise ValueError(
                "data.ingest ray_data feeds workers, and workers.num_workers is 0; raise it or "
                "set data.ingest to exact"
            )
        return self

    @model_validator(mode="after")
    def _precision_can_be_shared_out(self) -> TrainingConfig:
        if self.compute.precision == "float16" and self.workers.sharding == "fsdp2":
            raise ValueError(
                "workers.sharding fsdp2 sums gradients while they are scaled, which "
                "compute.precision float16 may overflow; take bfloat16 or float32"
            )
        return self

    @model_validator(mode="after")
    def _intervals_fit(self) -> TrainingConfig:
        every = self.checkpoint.every_steps
        if every is not None and every > self.max_steps:
            raise ValueError(
                f"checkpoint.every_steps {every} is more than max_steps {self.max_steps}; "
                f"lower it or set it to null"
            )
        if self.export == "best" and (every is None or self.validation.every_steps % every):
            raise ValueError(
                f"export best needs a checkpoint at every validation: make "
                f"validation.every_steps {self.validation.every_steps} a multiple of "
                f"checkpoint.every_steps {every}"
            )
        if self.lr_schedule.warmup_steps >= self.max_steps:
            raise ValueError(
                f"lr_schedule.warmup_steps {self.lr_schedule.warmup_steps} leaves nothing of "
                f"max_steps {self.max_steps}; lower it"
            )
        return self
