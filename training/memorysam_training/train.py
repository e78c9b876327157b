"""Training: fit, validate, save, resume.

Accelerate is the engine: the same code runs on one device or, under ``torchrun`` or ``accelerate
launch``, on many, with DDP or FSDP, in float32 or bfloat16.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext

import torch
from tqdm import tqdm

from memorysam_core.checkpoint import save_checkpoint
from memorysam_training import pictures
from memorysam_training.augment import TrainingBatch, ValidationBatch
from memorysam_training.data.loading import Batch, Reading, loader
from memorysam_training.processes import sums
from memorysam_training.provenance import provenance
from memorysam_training.recipe import Recipe
from memorysam_training.session import Progress, Session, micro_batches, setup
from memorysam_training.state import load, save, whole_model
from memorysam_training.step import TrainingError, log_window, take_step
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
    reader = closing(loader(reading, session.batches, recipe.run.workers))
    bar = tqdm(
        total=session.last_step,
        initial=progress.step,
        unit="step",
        dynamic_ncols=True,
        disable=not session.accelerator.is_main_process,
    )
    with bar, _interrupts() as interrupted, reader as batches:

        def stopped() -> bool:
            """Whether any process was interrupted; for all of them to ask."""
            return sums([interrupted()], session.accelerator.device) != [0]

        while progress.due or progress.step < session.last_step:
            if not progress.due:
                _step(session, batches)
                bar.update()
                if progress.step % recipe.run.log_every == 0:
                    bar.set_postfix(log_window(session))
                progress.due = _due(session)
                if not progress.due and progress.step % recipe.run.save_every == 0:
                    save(session)
            if stopped() or (progress.due and not validate_and_save(session, command, stopped)):
                save(session)
                log.warning("interrupted after step %d; continue with --resume", progress.step)
                return
    progress.complete = True


def validate_and_save(session: Session, command: str, stopped: Callable[[], bool]) -> bool:
    """Scores on ``val``, keeps the model if it is the best so far, and saves everything.

    Returns False, with nothing saved, if it was stopped.
    """
    recipe, progress = session.recipe, session.progress
    to_batch = ValidationBatch(
        session.contract.modalities,
        recipe.data.size,
        recipe.augment.resampling,
        recipe.augment.antialias,
    )
    average = session.average
    with average.applied(session.plain_model) if average else nullcontext():
        result = validate(
            session.accelerator, session.model, session.val_data, recipe, to_batch, stopped
        )
        if result is None:
            return False
        model = whole_model(session)
    scores = result.confusion.scores()
    is_best = scores.miou > progress.best
    progress.best, progress.due = max(progress.best, scores.miou), False
    if model is not None:
        row = {"step": progress.step, "kind": "val", **scores.to_dict()}
        session.folder.log(row | {"closed_gates": result.closed_gates, "best": progress.best})
        note = provenance(recipe, progress.step, progress.seconds, scores, command)
        contract = session.contract.replace(provenance=note)
        dtype = torch.float16 if recipe.run.stored == "fp16" else None
        save_checkpoint(session.folder.last_file, model, contract, dtype=dtype)
        if is_best:
            save_checkpoint(session.folder.best_file, model, contract, dtype=dtype)
            pictures.predictions(session.folder.path, result.pictures, session.contract)
    save(session)
    pictures.curves(session.folder)
    return True


def _step(session: Session, batches: Iterator[Batch]) -> None:
    """One step, and what all processes have to know of it. Raises TrainingError."""
    progress = session.progress
    skipped = progress.skipped
    started = time.monotonic()
    take_step(session, batches, _to_batch(session))
    progress.seconds += time.monotonic() - started
    broken = not math.isfinite(progress.window["loss"])
    told = sums([progress.skipped - skipped, broken], session.accelerator.device)
    progress.skipped = skipped + int(told[0])
    if told[1]:
        raise TrainingError(
            f"the loss is NaN or infinite at step {progress.step}; the last checkpoint is kept. "
            "Try a lower optimiser.learning_rate, or optimiser.clip=1"
        )


def _due(session: Session) -> bool:
    """Whether the weights are to be validated after the step that was just taken."""
    step = session.progress.step
    epoch, place = divmod(step, session.plan.steps_per_epoch)
    regular = place == 0 and epoch % session.recipe.run.validate_every == 0
    return regular or step == session.last_step


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


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """A function that tells whether Ctrl-C or SIGTERM came; a second one ends at once.

    Launchers such as ``torchrun`` pass on what the terminal has sent already, so signals that come
    within a second are one.
    """
    received: list[float] = []

    def note(number: int, frame: object) -> None:
        if received and time.monotonic() - received[0] > 1:
            raise KeyboardInterrupt
        received.append(time.monotonic())

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
