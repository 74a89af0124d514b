"""Rows in files of a folder."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pyarrow as pa

from include.lifecycle.data.partitions import Partition
from include.lifecycle.data.sources.formats import read_file
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.source import FilesSource
from include.lifecycle.store.connections import Connections
from include.lifecycle.store.objects import home_folder


def landing_place() -> str:
    """Where relative source paths start: PERENNIAL_LANDING, a folder or the URI of a bucket, or `landing`
    in PERENNIAL_HOME."""
    return os.environ.get("PERENNIAL_LANDING") or str(home_folder() / "landing")


class Files:
    """The files of one partition, in the order of their names."""

    def __init__(self, spec: DatasetSpec, partition: Partition, connections: Connections) -> None:
        self._source = cast(FilesSource, spec.source)
        self._partition = partition

    def files(self) -> list[Path]:
        """The partition's files; raises Rejected when there is none."""
        wanted = self._source.path.format(partition=self._partition.start)
        pattern = os.path.join(glob.escape(landing_place()), wanted)  # noqa: PTH118
        files = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
        if glob.has_magic(wanted):
            files = [file for file in files if not file.is_dir()]
        if not files:
            raise Rejected(
                f"no file {Path(landing_place()) / wanted}: the partition {self._partition.name} has not "
                "arrived; put the file there, then clear this task"
            )
        return files

    def fingerprint(self) -> str:
        """sha256 over names and bytes of the files."""
        digest = hashlib.sha256()
        for file in self.files():
            digest.update(f"{file.name}\0{_sha256(file)}\n".encode())
        return digest.hexdigest()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of all files, one after the other."""
        for file in self.files():
            yield from read_file(file, str(file), self._source.format, self._source.max_size)


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except (PermissionError, IsADirectoryError) as error:
        raise Rejected(
            f"{file}: cannot be opened ({error.strerror}); make it a file that "
            "this user may read, then clear this task"
        ) from None
    except OSError as error:
        raise Transient(f"{file}: cannot be read now ({error.strerror}); then clear this task") from None
