"""Training: set up, fit, validate, save, resume.

Accelerate is the engine: the same code runs on one device or, under ``torchrun`` or ``accelerate
launch``, on many, with DDP or FSDP, in float32 or bfloat16.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
)
from torch import Tensor
from torch.distributed.checkpoint import state_dict as distributed_state
from torch.nn import functional as F
from tqdm import tqdm

from memorysam_core.checkpoint import save_checkpoint
from memorysam_core.contract import InputContract
from memorysam_core.model import MemorySAM, Output
from memorysam_training import pictures
from memorysam_training.attention import attention_for
from memorysam_training.augment import TrainingBatch, ValidationBatch
from memorysam_training.average import WeightAverage
from memorysam_training.data.loading import Batch, Reading, chosen_modalities, loader, open_data
from memorysam_training.data.samples import DataSet
from memorysam_training.losses import ohem_cross_entropy
from memorysam_training.model import (
    make_model,
    merged_copy,
    parameter_groups,
    recompute_activations,
)
from memorysam_training.plan import MicroBatches, Plan, step_seed
from memorysam_training.prototypes import PrototypeMemory
from memorysam_training.provenance import provenance
from memorysam_training.recipe import Recipe
from memorysam_training.runs import RunFolder
from memorysam_training.schedule import Schedule
from memorysam_training.settings import SettingsError
from memorysam_training.validation import validate

log = logging.getLogger(__name__)

_WHOLE_STATE = distributed_state.StateDictOptions(full_state_dict=True, cpu_offload=True)


class TrainingError(ValueError):
    """Training cannot go on; the message says why and what to try."""


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
    optimiser: torch.optim.Optimizer
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


def train(recipe: Recipe, resume: bool = False, command: str = "") -> Progress:
    """Runs a recipe to its end, or until interrupted.

    Args:
        resume: continue the run in the recipe's folder where its last checkpoint stands.
        command: what was typed, for the checkpoints' provenance.

    Raises:
        SettingsError: if the recipe cannot be run as it is.
        DataError: for a bad data set, or a bad sample where those are not skipped.
        TrainingError: if the loss is no longer finite.
    """
    session = setup(recipe)
    if resume:
        load(session)
    elif session.accelerator.is_main_process:
        session.folder.start(recipe)
    session.accelerator.wait_for_everyone()
    try:
        fit(session, command)
    finally:
        session.folder.close()
    return session.progress


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
    groups = parameter_groups(model, optimiser_recipe.weight_decay)
    optimiser = torch.optim.AdamW(groups, lr=optimiser_recipe.learning_rate)
    model, optimiser = accelerator.prepare(model, optimiser)

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
        batches=_micro_batches(recipe, plan, accelerator, 0),
        model=model,
        optimiser=optimiser,
        prototypes=_prototypes(recipe, plain, accelerator.device),
        average=WeightAverage(plain, optimiser_recipe.average)
        if optimiser_recipe.average
        else None,
    )


def make_accelerator(recipe: Recipe) -> Accelerator:
    """Accelerate for this recipe. Raises SettingsError for combinations that do not work."""
    parts = recipe.optimiser.batch // recipe.optimiser.batch_per_process
    processes = PartialState().num_processes
    if parts % processes:
        raise SettingsError(
            f"optimiser.batch is {recipe.optimiser.batch}, which {processes} processes with "
            f"optimiser.batch_per_process {recipe.optimiser.batch_per_process} cannot share evenly"
        )
    accelerator = Accelerator(
        mixed_precision="bf16" if recipe.run.precision == "bf16" else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=parts // processes, sync_with_dataloader=False
        ),
        # a sequence of one frame does not use the memory
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.distributed_type is DistributedType.FSDP and recipe.optimiser.average:
        raise SettingsError("optimiser.average cannot follow sharded weights (FSDP); set it to 0")
    return accelerator


def fit(session: Session, command: str) -> None:
    """Steps until the run is complete, validating, logging and saving on the way."""
    recipe, progress = session.recipe, session.progress
    session.batches = _micro_batches(recipe, session.plan, session.accelerator, progress.step)
    reading = Reading(session.train_data, recipe.data.on_bad_sample)
    batches = iter(loader(reading, session.batches, recipe.run.workers))
    bar = tqdm(
        total=session.last_step,
        initial=progress.step,
        unit="step",
        dynamic_ncols=True,
        disable=not session.accelerator.is_main_process,
    )
    with bar, _interrupts() as interrupted:
        while progress.step < session.last_step:
            started = time.monotonic()
            take_step(session, batches, _to_batch(session))
            progress.seconds += time.monotonic() - started
            bar.update()
            if progress.step % recipe.run.log_every == 0:
                bar.set_postfix(log_window(session))
            epoch, place = divmod(progress.step, session.plan.steps_per_epoch)
            progress.complete = progress.step == session.last_step
            if progress.complete or (place == 0 and epoch % recipe.run.validate_every == 0):
                validate_and_save(session, command)
            elif progress.step % recipe.run.save_every == 0:
                save(session)
            if _any_process(session.accelerator, interrupted()):
                save(session)
                log.warning("interrupted after step %d; continue with --resume", progress.step)
                return


def take_step(session: Session, batches: Iterator[Batch], to_batch: TrainingBatch) -> None:
    """One optimiser step: all its forward and backward passes."""
    accelerator, progress = session.accelerator, session.progress
    rate = session.recipe.optimiser.learning_rate * session.schedule.factor(progress.step)
    for group in session.optimiser.param_groups:
        group["lr"] = rate
    session.model.train()
    torch.manual_seed(step_seed(session.recipe.run.seed, progress.step, accelerator.process_index))
    for _ in range(session.batches.per_step):
        batch = next(batches)
        progress.skipped += len(batch.skipped)
        for message in batch.skipped:
            log.warning("bad sample skipped: %s", message)
        attention = attention_for(accelerator.device, session.recipe.run.precision)
        with accelerator.accumulate(session.model), attention:
            frames, labels = to_batch(batch.samples, batch.draws, accelerator.device)
            output = session.model(frames)
            losses = loss_terms(session, output, labels)
            accelerator.backward(losses["loss"])
            if accelerator.sync_gradients and session.recipe.optimiser.clip:
                accelerator.clip_grad_norm_(
                    session.model.parameters(), session.recipe.optimiser.clip
                )
            session.optimiser.step()
            session.optimiser.zero_grad()
        _count(session, losses, output)
    progress.step += 1
    if session.average:
        session.average.update(session.plain_model, progress.step)


def loss_terms(session: Session, output: Output, labels: Tensor) -> dict[str, Tensor]:
    """The loss and its parts, at the size of the labels."""
    recipe = session.recipe.loss
    logits = F.interpolate(output.logits, labels.shape[1:], mode="bilinear", align_corners=False)
    terms = {
        "ohem": ohem_cross_entropy(logits, labels, recipe.ohem_confidence, recipe.ohem_least_share)
    }
    total = terms["ohem"]
    if session.prototypes is not None:
        terms["prototype"] = session.prototypes(output.features, labels)
        total = total + recipe.prototype_weight * terms["prototype"]
    return {"loss": total, **terms}


def log_window(session: Session) -> dict[str, str]:
    """Writes the means since the last line of metrics; returns them for the progress bar."""
    progress, accelerator = session.progress, session.accelerator
    steps = progress.window.pop("steps")
    seconds = progress.seconds - progress.window.pop("since")
    values = torch.tensor(list(progress.window.values()), dtype=torch.float64) / steps
    values = accelerator.reduce(values.to(torch.float32).to(accelerator.device), "mean").tolist()
    means = dict(zip(progress.window, values, strict=True))
    progress.window = {}
    if not math.isfinite(means["loss"]):
        raise TrainingError(
            f"the loss is {means['loss']} at step {progress.step}; the last checkpoint is kept. "
            "Try a lower optimiser.learning_rate, or optimiser.clip=1"
        )
    images = steps * session.recipe.optimiser.batch / session.batches.per_step
    row = {
        "step": progress.step,
        "kind": "train",
        "epoch": progress.step / session.plan.steps_per_epoch,
        **means,
        "learning_rate": session.optimiser.param_groups[0]["lr"],
        "images_per_second": images / max(seconds, 1e-9),
        "skipped": progress.skipped,
    }
    session.folder.log(row)
    best = f"{progress.best:.3f}" if progress.best >= 0 else "-"
    rate = f"{row['images_per_second']:.1f}"
    return {"loss": f"{means['loss']:.3f}", "best_mIoU": best, "images/s": rate}


def validate_and_save(session: Session, command: str) -> None:
    """Scores on ``val``, keeps the model if it is the best so far, and saves everything."""
    recipe, progress = session.recipe, session.progress
    model = session.plain_model
    to_batch = ValidationBatch(
        session.contract.modalities,
        recipe.data.size,
        recipe.augment.resampling,
        recipe.augment.antialias,
    )
    averaged = session.average.applied(model) if session.average else nullcontext()
    with averaged:
        result = validate(session.accelerator, model, session.val_data, recipe, to_batch)
        scores = result.confusion.scores()
        is_best = scores.miou > progress.best
        progress.best = max(progress.best, scores.miou)
        if session.accelerator.is_main_process:
            row = {"step": progress.step, "kind": "val", **scores.to_dict()}
            session.folder.log(row | {"closed_gates": result.closed_gates, "best": progress.best})
            note = provenance(recipe, progress.step, progress.seconds, scores, command)
            contract = session.contract.replace(provenance=note)
            merged = merged_copy(model)
            save_checkpoint(session.folder.last_file, merged, contract)
            if is_best:
                save_checkpoint(session.folder.best_file, merged, contract)
                pictures.predictions(session.folder.path, result.pictures, session.contract)
    save(session)
    pictures.curves(session.folder)


def save(session: Session) -> None:
    """Everything that :func:`load` needs to go on as if nothing had happened."""
    model, optimiser = session.plain_model, _plain(session.optimiser)
    weights, moments = distributed_state.get_state_dict(
        session.model, optimiser, options=_WHOLE_STATE
    )
    session.folder.save_state(
        {
            "recipe": session.recipe.to_dict(),
            "progress": dict(vars(session.progress)),
            "model": weights,
            "optimiser": moments,
            "prototypes": session.prototypes.state_dict() if session.prototypes else {},
            "average": session.average.state_dict() if session.average else {},
            "parameters": sum(p.numel() for p in model.parameters()),
        }
    )


def load(session: Session) -> None:
    """Goes back to the last checkpoint of the run's folder.

    Raises SettingsError if there is none, or if it is of another model, data set or batch.
    """
    state = session.folder.load_state()
    ours = session.recipe.to_dict()
    for section in ("data", "model"):
        if state["recipe"][section] != ours[section]:
            raise SettingsError(
                f"the run in {session.folder.path} has another '{section}': "
                f"{state['recipe'][section]}, now {ours[section]}; resume with the recipe it had"
            )
    distributed_state.set_state_dict(
        session.model,
        _plain(session.optimiser),
        model_state_dict=state["model"],
        optim_state_dict=state["optimiser"],
        # not strict: parameters that no step has used yet have no moments
        options=distributed_state.StateDictOptions(full_state_dict=True, strict=False),
    )
    if session.prototypes is not None:
        session.prototypes.load_state_dict(state["prototypes"])
    if session.average:
        session.average.load_state_dict(state["average"])
    session.progress = Progress(**state["progress"] | {"complete": False})
    session.folder.resume(session.progress.step)


def _count(session: Session, losses: dict[str, Tensor], output: Output) -> None:
    window, progress = session.progress.window, session.progress
    window.setdefault("since", progress.seconds)
    figures = {name: float(value.detach()) for name, value in losses.items()}
    figures["closed_gates"] = float(output.closed_gates.float().mean())
    for name, value in {"steps": 1.0, **figures}.items():
        window[name] = window.get(name, 0.0) + value


def _to_batch(session: Session) -> TrainingBatch:
    """What makes the tensors of the coming step."""
    recipe = session.recipe
    early = session.progress.step < recipe.augment.early_share * session.last_step
    return TrainingBatch(
        recipe.augment,
        recipe.robustness.corruption,
        session.contract.modalities,
        recipe.augment.early_size if early else recipe.data.size,
    )


def _micro_batches(
    recipe: Recipe, plan: Plan, accelerator: Accelerator, start: int
) -> MicroBatches:
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


def _plain(optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    return getattr(optimiser, "optimizer", optimiser)


def _any_process(accelerator: Accelerator, flag: bool) -> bool:
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device)).item())


@contextmanager
def _interrupts() -> Iterator:
    """A function that tells whether Ctrl-C or SIGTERM came; a second one ends at once."""
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
