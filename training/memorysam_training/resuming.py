"""Whether a run can be continued: what it sees and what it learns has to be what it was."""

from __future__ import annotations

from memorysam_training.recipe import Recipe
from memorysam_training.session import Session
from memorysam_training.settings import SettingsError

FIXED = (
    "model.",
    "loss.",
    "augment.",
    "robustness.",
    "optimiser.batch",
    "optimiser.muon_rate",
    "optimiser.average",
    "run.seed",
)
"""Settings, and sections, on which what a step sees and learns depends. Of ``data``, what is read
is compared and not where it lies; rates and epochs may change, and so may the devices."""
FREE = ("model.weights",)
"""Of those, what has had its effect before the first step."""


def refuse_another_run(session: Session, state: dict) -> None:
    """Raises SettingsError, naming what differs, if a stored state is not of this run."""
    # A run of an earlier version had today's defaults for settings that it did not know.
    was = {**_fixed(Recipe().to_dict()), **_fixed(state["recipe"]), **state["identity"]}
    now = {**_fixed(session.recipe.to_dict()), **session.identity}
    changed = [f"{key} was {was[key]}, now {now[key]}" for key in now if was[key] != now[key]]
    if changed:
        raise SettingsError(
            f"the run in {session.folder.path} cannot go on with other samples or settings: "
            + "; ".join(changed)
            + ". Give what it had, or start another run from its weights, "
            f"model.weights={session.folder.last_file}"
        )


def _fixed(recipe: dict) -> dict[str, object]:
    flat = {
        f"{section}.{key}": value
        for section, values in recipe.items()
        if isinstance(values, dict)
        for key, value in values.items()
    }
    return {k: v for k, v in flat.items() if _is_fixed(k)}


def _is_fixed(key: str) -> bool:
    if key in FREE:
        return False
    return any(key == fixed or (fixed[-1] == "." and key.startswith(fixed)) for fixed in FIXED)
