"""The state of a run on disk: all that a resumed run needs to go on as if nothing had happened."""

from __future__ import annotations

from torch.distributed.checkpoint import state_dict as distributed_state

from memorysam_training.session import Progress, Session
from memorysam_training.settings import SettingsError

_WHOLE_STATE = distributed_state.StateDictOptions(full_state_dict=True, cpu_offload=True)


def save(session: Session) -> None:
    """Everything that :func:`load` needs to go on as if nothing had happened."""
    weights, moments = distributed_state.get_state_dict(
        session.model, session.optimisers.plain, options=_WHOLE_STATE
    )
    session.folder.save_state(
        {
            "recipe": session.recipe.to_dict(),
            "progress": dict(vars(session.progress)),
            "model": weights,
            "optimiser": moments,
            "prototypes": session.prototypes.state_dict() if session.prototypes else {},
            "average": session.average.state_dict() if session.average else {},
            "parameters": sum(p.numel() for p in session.plain_model.parameters()),
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
        session.optimisers.plain,
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
