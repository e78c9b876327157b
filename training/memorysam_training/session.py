"""Everything that takes part in a run: data, model, optimiser, on the devices at hand."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
)

from memorysam_core.contract import InputContract
from memorysam_core.model import MemorySAM
from memorysam_training.average import WeightAverage
from memorysam_training.data.loading import chosen_modalities, open_data
from memorysam_training.data.samples import DataSet
from memorysam_training.model import make_model, recompute_activations
from memorysam_training.optimisers import Optimisers, make_optimisers
from memorysam_training.plan import MicroBatches, Plan
from memorysam_training.prototypes import PrototypeMemory
from memorysam_training.recipe import Recipe
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
    """Bad samples that others took the place of."""
    window: dict[str, float] = field(default_factory=dict)
    """Sums of the figures since the last line of metrics."""
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
    average: WeightAverage | None
    progress: Progress = field(default_factory=Progress)

    @property
    def plain_model(self) -> MemorySAM:
        """The model without what Accelerate wraps around it."""
        return self.accelerator.unwrap_model(self.model)

    @property
    def last_step(self) -> int:
        """The step at which the run is complete."""
        return self.recipe.optimiser.epochs * self.plan.steps_per_epoch


def setup(recipe: Recipe) -> Session:
    """Data, model and optimiser of a recipe, on the devices at hand."""
    accelerator = make_accelerator(recipe)
    with accelerator.main_process_first():  # the first decodes the cache, the others find it
        train_data, val_data = open_data(recipe.data, "train"), open_data(recipe.data, "val")
    names = chosen_modalities(train_data, recipe.data.modalities)
    modalities = tuple(m for m in train_data.modalities if m.name in names)
    contract = InputContract(modalities, train_data.label_space, recipe.data.size)

    torch.manual_seed(recipe.run.seed)
    model = make_model(recipe.model, len(contract.label_space))
    if recipe.run.gradient_checkpointing:
        recompute_activations(model)
    optimiser_recipe = recipe.optimiser
    optimisers = make_optimisers(model, optimiser_recipe)
    model, *parts = accelerator.prepare(model, *optimisers.parts)

    plan = Plan(
        samples=len(train_data),
        batch=optimiser_recipe.batch,
        modalities=names,
        seed=recipe.run.seed,
        dropout=recipe.robustness.dropout,
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
        schedule=Schedule(
            steps_per_epoch=max(1, len(train_data) // optimiser_recipe.batch),
            epochs=optimiser_recipe.epochs,
            warmup_epochs=optimiser_recipe.warmup_epochs,
            warmup_start=optimiser_recipe.warmup_start,
            power=optimiser_recipe.power,
        ),
        batches=micro_batches(recipe, plan, accelerator, 0),
        model=model,
        optimisers=Optimisers(tuple(parts), optimisers.rates),
        prototypes=_prototypes(recipe, plain, accelerator.device),
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
        mixed_precision="bf16" if recipe.run.precision == "bf16" else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=parts // processes, sync_with_dataloader=False
        ),
        # a sequence of one frame does not use the memory
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.distributed_type is DistributedType.FSDP and recipe.optimiser.average:
        raise SettingsError("optimiser.average cannot follow sharded weights (FSDP); set it to 0")
    if accelerator.distributed_type is DistributedType.FSDP and recipe.optimiser.muon_rate:
        raise SettingsError(
            "optimiser.muon_rate needs whole matrices, not shards (FSDP); set it to 0"
        )
    return accelerator


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
