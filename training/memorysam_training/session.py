"""Everything that takes part in a run: data, model, optimiser, on the devices at hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
)
from torch import Tensor
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from memorysam_core.contract import InputContract
from memorysam_core.engines.host_memory import keep_freed_memory
from memorysam_core.engines.placement import choose_precision
from memorysam_core.model import MemorySAM
from memorysam_core.trunk import Block
from memorysam_training.average import WeightAverage
from memorysam_training.data.loading import open_data, pixels_of_classes
from memorysam_training.data.modalities import chosen, normalised_as, refuse_others
from memorysam_training.data.samples import DataSet
from memorysam_training.losses import class_weights
from memorysam_training.model import make_model, recompute_activations
from memorysam_training.optimisers import Optimisers, make_optimisers
from memorysam_training.plan import MicroBatches, Plan
from memorysam_training.prototypes import PrototypeMemory
from memorysam_training.recipe import Optimiser, Recipe
from memorysam_training.runs import RunFolder
from memorysam_training.schedule import Schedule
from memorysam_training.settings import SettingsError


@dataclass
class Progress:
    """What a run has done so far."""

    step: int = 0
    """Finished steps."""
    seconds: float = 0.0
    best: float = -1.0
    """Highest mIoU on ``val`` so far."""
    skipped: int = 0
    """Bad samples that others took the place of, in all processes."""
    window: dict[str, float] = field(default_factory=dict)
    """Sums of the figures since the last line of metrics."""
    due: bool = False
    """The weights are to be validated before the next step."""
    complete: bool = False


@dataclass
class Session:
    """Everything that takes part in a run."""

    recipe: Recipe
    accelerator: Accelerator
    folder: RunFolder
    train_data: DataSet
    val_data: DataSet
    contract: InputContract
    plan: Plan
    schedule: Schedule
    batches: MicroBatches
    model: torch.nn.Module
    optimisers: Optimisers
    prototypes: PrototypeMemory | None
    class_weights: Tensor | None
    """How much a pixel of each class counts in the loss; None for all alike."""
    average: WeightAverage | None
    progress: Progress = field(default_factory=Progress)

    @property
    def plain_model(self) -> MemorySAM:
        """The model without what Accelerate wraps around it."""
        return self.accelerator.unwrap_model(self.model)

    @cached_property
    def identity(self) -> dict[str, str]:
        """What makes the samples, by a word for it. A data set may move, be copied and cached."""
        modalities = [m.to_dict() for m in self.contract.modalities]
        return {
            "data.size": "{} x {}".format(*self.contract.size),
            "data.modalities": ", ".join(self.contract.names),
            "the way they are drawn": json.dumps(modalities),
            "the label space": json.dumps(self.contract.label_space.to_dict()),
            "the fingerprint of the training samples": self.train_data.fingerprint(times=False),
            "the fingerprint of the validation samples": self.val_data.fingerprint(times=False),
        }

    @property
    def last_step(self) -> int:
        """The step at which the run is complete."""
        return self.recipe.optimiser.epochs * self.plan.steps_per_epoch


def setup(recipe: Recipe) -> Session:
    """Data, model and optimiser of a recipe, on the devices at hand."""
    accelerator = make_accelerator(recipe)
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    with accelerator.main_process_first():  # the first decodes the cache, the others find it
        train_data, val_data = open_data(recipe.data, "train"), open_data(recipe.data, "val")
    # Normalised first: a recipe for four sensors also serves with some of them left out.
    modalities = chosen(
        normalised_as(train_data.modalities, recipe.data.normalisation), recipe.data.modalities
    )
    contract = InputContract(modalities, train_data.label_space, recipe.data.size)
    chosen(val_data.modalities, contract.names)
    refuse_others(
        "robustness.dropout_weights", recipe.robustness.dropout_weights, train_data.modalities
    )

    torch.manual_seed(recipe.run.seed)
    model = make_model(recipe.model, len(contract.label_space))
    if accelerator.distributed_type is DistributedType.FSDP:
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if recipe.run.gradient_checkpointing:
        recompute_activations(model)
    optimiser_recipe = recipe.optimiser
    optimisers = make_optimisers(model, optimiser_recipe)
    model, *parts = accelerator.prepare(model, *optimisers.parts)

    plan = Plan(
        samples=len(train_data),
        batch=optimiser_recipe.batch,
        modalities=contract.names,
        seed=recipe.run.seed,
        dropout=recipe.robustness.dropout,
        dropout_weights=recipe.robustness.dropout_weights,
    )
    plain = accelerator.unwrap_model(model)
    return Session(
        recipe=recipe,
        accelerator=accelerator,
        folder=RunFolder(recipe.folder, accelerator.is_main_process),
        train_data=train_data,
        val_data=val_data,
        contract=contract,
        plan=plan,
        schedule=make_schedule(recipe, plan),
        batches=micro_batches(recipe, plan, accelerator, 0),
        model=model,
        optimisers=Optimisers(tuple(parts), optimisers.rates),
        prototypes=_prototypes(recipe, plain, accelerator.device),
        class_weights=_class_weights(recipe, train_data, accelerator.device),
        average=WeightAverage(plain, optimiser_recipe.average)
        if optimiser_recipe.average
        else None,
    )


def make_accelerator(recipe: Recipe) -> Accelerator:
    """Accelerate for this recipe. Raises SettingsError for combinations that do not work."""
    parts = recipe.optimiser.batch // recipe.optimiser.batch_per_process
    # On processors Accelerate must be told, or each process would train alone.
    on_processors = not torch.accelerator.is_available()
    processes = PartialState(cpu=on_processors).num_processes
    if parts % processes:
        raise SettingsError(
            f"optimiser.batch is {recipe.optimiser.batch}, which {processes} processes with "
            f"optimiser.batch_per_process {recipe.optimiser.batch_per_process} cannot share evenly"
        )
    accelerator = Accelerator(
        cpu=on_processors,
        mixed_precision="bf16" if _trains_in_bf16(recipe.run.precision) else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=parts // processes, sync_with_dataloader=False
        ),
        # a sequence of one frame does not use the memory
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.distributed_type is DistributedType.FSDP:
        prepare_for_shards(accelerator, recipe.optimiser)
    return accelerator


def _trains_in_bf16(precision: str) -> bool:
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return choose_precision(precision, device or torch.device("cpu")) == "bf16"


def prepare_for_shards(accelerator: Accelerator, optimiser: Optimiser) -> None:
    """Has FSDP do what this model needs, whatever its configuration says. Raises SettingsError."""
    if not accelerator.is_fsdp2:
        raise SettingsError(
            "FSDP of version 1 cannot shard a model that is partly frozen; give fsdp_version: 2, "
            "as config/fsdp.yaml does"
        )
    if optimiser.average:
        raise SettingsError("optimiser.average cannot follow sharded weights (FSDP); set it to 0")
    if optimiser.muon_rate:
        raise SettingsError(
            "optimiser.muon_rate needs whole matrices, not shards (FSDP); set it to 0"
        )
    plugin = accelerator.state.fsdp_plugin
    # Of all other parts the model reads weights without calling them, so that only the trunk's
    # blocks can gather theirs for themselves.
    plugin.auto_wrap_policy = transformer_auto_wrap_policy
    plugin.transformer_cls_names_to_wrap = [Block.__name__]


def make_schedule(recipe: Recipe, plan: Plan) -> Schedule:
    """Over the steps of the plan, or over those that the released code counts."""
    steps = plan.steps_per_epoch
    if recipe.run.schedule == "published":
        steps = max(1, plan.samples // plan.batch)
    settings = recipe.optimiser
    return Schedule(
        steps, settings.epochs, settings.warmup_epochs, settings.warmup_start, settings.power
    )


def micro_batches(recipe: Recipe, plan: Plan, accelerator: Accelerator, start: int) -> MicroBatches:
    """One process's share of the steps from ``start`` to the last."""
    return MicroBatches(
        plan,
        recipe.optimiser.batch_per_process,
        accelerator.process_index,
        accelerator.num_processes,
        start,
        recipe.optimiser.epochs * plan.steps_per_epoch,
    )


def _prototypes(recipe: Recipe, model: MemorySAM, device: torch.device) -> PrototypeMemory | None:
    if recipe.loss.prototypes == "off":
        return None
    return PrototypeMemory(
        model.architecture.num_classes,
        model.architecture.parts.model_dim // 8,
        recipe.loss.prototypes,
        recipe.loss.prototype_momentum,
        recipe.loss.prototype_distance,
    ).to(device)


def _class_weights(recipe: Recipe, data: DataSet, device: torch.device) -> Tensor | None:
    if not recipe.loss.balance:
        return None
    return class_weights(pixels_of_classes(data), recipe.loss.balance).to(device)
