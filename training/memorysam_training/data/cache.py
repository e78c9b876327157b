"""A decoded copy of a data set in one memory-mapped file."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from memorysam_training.data.samples import DataError, DataSet, Sample


class Cached:
    """A data set of samples of one size, decoded once; after that its own files stay closed.

    A bad sample stops the decoding, or, with ``on_bad_sample`` ``skip``, is bad in the copy, too.
    Raises DataError if the samples differ in size or are no bytes.
    """

    def __init__(self, dataset: DataSet, folder: Path, on_bad_sample: str = "fail") -> None:
        self.dataset = dataset
        self.modalities, self.label_space = dataset.modalities, dataset.label_space
        self.names = [m.name for m in dataset.modalities]
        path = folder / f"{dataset.fingerprint()}.u8"
        about = path.with_suffix(".json")
        if not about.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(path.with_suffix(".tmp")) as temporary:
                if not about.is_file():
                    told = self._fill(temporary, on_bad_sample == "skip")
                    os.replace(temporary, path)
                    temporary.write_text(json.dumps(told))
                    os.replace(temporary, about)
        self._about = json.loads(about.read_text())
        self._samples = np.memmap(path, np.uint8, "r", shape=tuple(self._about["shape"]))

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, index: int, modalities: Sequence[str]) -> Sample:
        """One sample, copied out of the file. Raises DataError as the data set did."""
        name, error = self._about["names"][index], self._about["errors"][index]
        if error:
            raise DataError(error)
        stored = self._samples[index]
        at = {name: 3 * i for i, name in enumerate(self.names)}
        frames = {n: torch.from_numpy(stored[at[n] : at[n] + 3].copy()) for n in modalities}
        return Sample(frames, torch.from_numpy(stored[-1].copy()), name)

    def groups(self, index: int) -> dict[str, str]:
        """Those of the data set."""
        return self._about["groups"][index]

    def fingerprint(self, times: bool = True) -> str:
        """That of the data set."""
        return self.dataset.fingerprint(times)

    def _fill(self, path: Path, skip: bool) -> dict:
        """Decodes everything; returns what is to be known of it beside the pixels."""
        shape = (len(self.dataset), 3 * len(self.names) + 1, *self._first_size(skip))
        samples = np.memmap(path, np.uint8, "w+", shape=shape)

        def decode(index: int) -> tuple[str, str]:
            try:
                sample = self.dataset.read(index, self.names)
            except DataError as error:
                if not skip:
                    raise
                return "", str(error)
            parts = [*sample.frames.values(), sample.labels_at_frames()[None]]
            if any(p.dtype != torch.uint8 or p.shape[1:] != shape[2:] for p in parts):
                raise DataError(
                    f"sample {sample.name} is not {shape[2]} x {shape[3]} bytes like the first "
                    "one; data.cache needs samples of one size, leave it empty"
                )
            samples[index] = torch.cat(parts).numpy()
            return sample.name, ""

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = pool.map(decode, range(len(samples)))
            told = list(tqdm(jobs, "decoding", len(samples), leave=False, dynamic_ncols=True))
        samples.flush()
        names, errors = zip(*told, strict=True)
        groups = [self.dataset.groups(index) for index in range(len(samples))]
        return {"shape": shape, "names": names, "errors": errors, "groups": groups}

    def _first_size(self, skip: bool) -> tuple[int, ...]:
        """Height and width of the first sample that can be read."""
        for index in range(len(self.dataset)):
            try:
                return self.dataset.read(index, self.names).size
            except DataError as error:
                if not skip:
                    raise
                last = error
        raise DataError(f"no sample can be read; the last error: {last}")


@contextmanager
def _alone(temporary: Path) -> Iterator[Path]:
    """The file, kept from other processes that decode the same; what a killed one left is reused.

    A lock ends with its process, so nothing has to be cleared away by hand.
    """
    try:
        with temporary.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield temporary
    finally:
        temporary.unlink(missing_ok=True)
