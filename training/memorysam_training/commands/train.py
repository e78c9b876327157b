"""Train a model by a recipe, or go on with an interrupted run."""

from __future__ import annotations

import argparse
import shlex
import sys

EPILOG = """\
examples:
  memorysam train config/train_sim_nano.yaml data.root=worlds
  memorysam train config/train_deliver.yaml data.root=DELIVER model.weights=sam2.safetensors
  memorysam train config/train_sim_nano.yaml data.root=worlds --resume
  torchrun --nproc-per-node 4 -m memorysam_core.cli train config/train_deliver_published.yaml ...

Ctrl-C finishes the step and saves. Everything goes to runs/NAME: recipe.yaml, metrics.jsonl,
tensorboard/, curves.png, predictions.png, checkpoints/{last.pt,last.safetensors,best.safetensors}.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, overrides, and whether to resume."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    # Else argparse takes overrides on one side of --resume only.
    parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign,assignment]
    parser.add_argument("recipe", metavar="RECIPE.yaml", help="such as config/train_sim_nano.yaml")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings that differ, such as data.root=FOLDER or optimiser.learning_rate=1e-4",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on where the run's last checkpoint stands"
    )
    parser.add_argument(
        "--print", action="store_true", help="print the resolved recipe and do nothing else"
    )


def run(args: argparse.Namespace) -> int:
    """Trains; 130 if interrupted."""
    from memorysam_training.recipe import Recipe

    recipe = Recipe.load(args.recipe, args.overrides)
    if args.print:
        import yaml

        print(yaml.safe_dump(recipe.to_dict(), sort_keys=False), end="")
        return 0
    from accelerate import PartialState

    from memorysam_training.train import train

    command = "memorysam " + shlex.join(sys.argv[1:])
    progress = train(recipe, resume=args.resume, command=command)
    if not PartialState().is_main_process:
        return 0 if progress.complete else 130
    print(
        f"{recipe.folder}: {progress.step} steps in {progress.seconds / 60:.1f} min, "
        f"best mIoU on val {progress.best:.4f}"
    )
    return 0 if progress.complete else 130
