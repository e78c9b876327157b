"""The runner of all benchmarks: `memorysam bench`, or `python -m memorysam_core.bench`."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import json
import os
import sys
import time
from pathlib import Path

from memorysam_core import discovery
from memorysam_core.bench import machine
from memorysam_core.bench.row import Row
from memorysam_core.bench.submit import submit

HOMES = ("memorysam_core.bench", "memorysam_ros.bench", "memorysam_training.bench")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `memorysam bench`."""
    parser.add_argument(
        "--device", default="cpu", help="where the model runs: cpu, cuda or cuda:N (default: cpu)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and few repeats: does everything run?"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="AREA",
        help=f"one area; may be repeated. Here: {', '.join(areas())}",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("bench/latest.json"),
        metavar="FILE",
        help="where the JSON goes (default: %(default)s)",
    )
    parser.add_argument(
        "--submit",
        type=Path,
        metavar="FILE",
        help="measure nothing: put the engines of an earlier JSON into docs/performance.md",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the areas, prints their rows as they come and writes the JSON file.

    An area that fails is reported, the others still run; the exit status is then 1.
    """
    if args.submit is not None:
        print("\n".join(submit(args.submit)))
        return 0
    known = areas()
    chosen = args.only or list(known)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ValueError(f"no area {', '.join(unknown)}; there are {', '.join(known)}")
    _check_device(args.device)
    report = machine.record(args.device) | {"quick": args.quick, "rows": [], "failed": {}}
    print(_headline(report))
    try:
        for name in chosen:
            _measure(name, known[name], args, report)
    finally:  # what is there is kept when the rest is interrupted
        _write(args.out, report)
        print(f"\nwritten to {args.out}")
    return 1 if report["failed"] else 0


def _measure(name: str, module: str, args: argparse.Namespace, report: dict) -> None:
    print(f"\n{name}")
    started = time.perf_counter()
    try:
        for row in importlib.import_module(module).rows(args.device, args.quick):
            print(_line(row), flush=True)
            report["rows"].append({"area": name, **dataclasses.asdict(row)})
    except Exception as error:  # reported below, and in the exit status
        report["failed"][name] = f"{type(error).__name__}: {error}"
        print(f"  failed: {report['failed'][name]}")
    print(f"  ({time.perf_counter() - started:.0f} s)")


def areas() -> dict[str, str]:
    """The areas that can be measured here: their names and modules."""
    return {
        module.rpartition(".")[2]: module
        for home in HOMES
        for module, source in discovery.modules(home).items()
        if _defines_rows(source)
    }


def _defines_rows(path: Path) -> bool:
    """Whether a module is an area, seen without importing it and what it needs."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(part, ast.FunctionDef) and part.name == "rows" for part in body)


def _check_device(device: str) -> None:
    import torch

    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"no device {device!r}; give cpu, cuda or cuda:N")
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"PyTorch sees no CUDA device here, so not {device!r}; give cpu")


def _headline(report: dict) -> str:
    made_on, versions = report["machine"], report["versions"]
    return (
        f"{made_on['device_name']}, {made_on['cores']} cores, {made_on['memory_gb']} GB · "
        f"torch {versions.get('torch')} · {report['date']} · commit {report['commit'] or 'unknown'}"
    )


def _line(row: Row) -> str:
    return f"  {row.name:<58} {row.value:>10.4g} {row.unit:<8} {row.detail}".rstrip()


def _write(path: Path, report: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m memorysam_core.bench", description=__doc__)
    add_arguments(parser)
    sys.exit(run(parser.parse_args()))
