"""The state of a run on disk: all that a resumed run needs to go on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.distributed.checkpoint import state_dict as distributed_state

from memorysam_core.adapters import merge_adapters
from memorysam_core.checkpoint import build_model
from memorysam_core.model import MemorySAM
from memorysam_training.processes import sums
from memorysam_training.resuming import refuse_another_run
from memorysam_training.session import Progress, Session
from memorysam_training.step import TrainingError

_WHOLE_STATE = distributed_state.StateDictOptions(full_state_dict=True, cpu_offload=True)


def save(session: Session) -> None:
    """Everything that :func:`load` needs. For all processes to call; raises TrainingError."""
    weights, moments = distributed_state.get_state_dict(
        session.model, session.optimisers.plain, options=_WHOLE_STATE
    )
    _refuse_broken(session, weights)
    session.folder.save_state(
        {
            "recipe": session.recipe.to_dict(),
            "identity": session.identity,
            "progress": dict(vars(session.progress)),
            "model": weights,
            "optimiser": moments,
            "prototypes": session.prototypes.state_dict() if session.prototypes else {},
            "average": session.average.state_dict() if session.average else {},
        }
    )


def load(session: Session) -> None:
    """Goes back to the last checkpoint of the run's folder.

    Raises SettingsError if there is none, or if it is of a run that saw or learnt otherwise.
    """
    state = session.folder.load_state()
    refuse_another_run(session, state)
    decays = [g["weight_decay"] for g in _groups(session)]  # may be others than those of the state
    distributed_state.set_state_dict(
        session.model,
        session.optimisers.plain,
        model_state_dict=state["model"],
        optim_state_dict=state["optimiser"],
        # not strict: parameters that no step has used yet have no moments
        options=distributed_state.StateDictOptions(full_state_dict=True, strict=False),
    )
    for group, decay in zip(_groups(session), decays, strict=True):
        group["weight_decay"] = decay
    _drop_invented_moments(session, state["optimiser"]["state"])
    if session.prototypes is not None:
        session.prototypes.load_state_dict(state["prototypes"])
    if session.average:
        session.average.load_state_dict(state["average"])
    session.progress = Progress(**state["progress"])
    session.folder.resume(session.recipe, session.progress.step, session.progress.due)


def whole_model(session: Session) -> MemorySAM | None:
    """A copy without shards and with the adapters folded in; None on all but the main process.

    For all processes to call. Raises TrainingError where a weight is not finite.
    """
    weights = distributed_state.get_model_state_dict(session.model, options=_WHOLE_STATE)
    _refuse_broken(session, weights)
    if not session.accelerator.is_main_process:
        return None
    copy = build_model(session.plain_model.architecture)
    copy.load_state_dict(weights)
    return merge_adapters(copy)


def _groups(session: Session) -> list[dict[str, Any]]:
    return [group for part in session.optimisers.plain for group in part.param_groups]


def _drop_invented_moments(session: Session, stored: dict) -> None:
    """Loading makes moments, and counts a step, for parameters that no step has used yet."""
    names = {id(parameter): name for name, parameter in session.plain_model.named_parameters()}
    for part in session.optimisers.plain:
        for parameter in [p for p in part.state if names[id(p)] not in stored]:
            del part.state[parameter]


def _refuse_broken(session: Session, weights: Mapping[str, Any]) -> None:
    """On all processes, though only the main one has the weights: else the others would wait."""
    broken = [k for k, v in weights.items() if v.is_floating_point() and not v.isfinite().all()]
    (any_broken,) = sums([len(broken)], session.accelerator.device)
    if any_broken:
        raise TrainingError(
            f"after step {session.progress.step} weights are NaN or infinite"
            + (f", such as {broken[0]}" if broken else "")
            + "; the last checkpoint is kept. Try a lower optimiser.learning_rate, or "
            "optimiser.clip=1"
        )
