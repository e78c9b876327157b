"""Training: fit, validate, save, resume.

Accelerate is the engine: the same code runs on one device or, under ``torchrun`` or ``accelerate
launch``, on many, with DDP or FSDP, in float32 or bfloat16.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from accelerate import Accelerator
from tqdm import tqdm

from memorysam_core.checkpoint import save_checkpoint
from memorysam_training import pictures
from memorysam_training.augment import TrainingBatch, ValidationBatch
from memorysam_training.data.loading import Reading, loader
from memorysam_training.model import merged_copy
from memorysam_training.provenance import provenance
from memorysam_training.recipe import Recipe
from memorysam_training.session import Progress, Session, micro_batches, setup
from memorysam_training.state import load, save
from memorysam_training.step import log_window, take_step
from memorysam_training.validation import validate

log = logging.getLogger(__name__)


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


def fit(session: Session, command: str) -> None:
    """Steps until the run is complete, validating, logging and saving on the way."""
    recipe, progress = session.recipe, session.progress
    session.batches = micro_batches(recipe, session.plan, session.accelerator, progress.step)
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
            dtype = torch.float16 if recipe.run.stored == "fp16" else None
            save_checkpoint(session.folder.last_file, merged, contract, dtype=dtype)
            if is_best:
                save_checkpoint(session.folder.best_file, merged, contract, dtype=dtype)
                pictures.predictions(session.folder.path, result.pictures, session.contract)
    save(session)
    pictures.curves(session.folder)


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
