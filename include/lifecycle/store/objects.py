"""Objects in a folder or a bucket: put if absent, read, list; big ones under their sha256."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, ObjectStore, from_url

from include.lifecycle.errors import Rejected, Tampered, Transient
from include.lifecycle.spec.value import Value, sha256

_HALF_WRITTEN = re.compile(r"#\d+$")
"""How obstore and Delta name a file in a folder until it is whole."""
_AT_ONCE = 32


class Output(Value):
    """A file in the store, named by what is in it."""

    sha256: str
    size: int

    @classmethod
    def of(cls, content: bytes | Path) -> Self:
        """What some bytes, or a file's, are named; the file is not read into memory."""
        if isinstance(content, bytes):
            return cls(sha256=sha256(content), size=len(content))
        with content.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return cls(sha256=digest, size=content.stat().st_size)


class Store:
    """One place for all state: a folder, or a bucket with a prefix such as `s3://lake/perennial`.

    `options` are credentials and settings under the names that obstore and deltalake share; what
    they leave open comes from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …).
    """

    def __init__(self, uri: str, options: Mapping[str, str] | None = None) -> None:
        self.uri = uri.rstrip("/")
        self.options = dict(options or {})
        self._objects = self._connect()

    def _connect(self) -> ObjectStore:
        if "://" in self.uri:
            return from_url(self.uri, config=self.options or None)  # type: ignore[arg-type]
        return LocalStore(Path(self.uri).absolute(), mkdir=True)

    def put_if_absent(self, path: str, content: bytes) -> bool:
        """Write an object; False, and nothing written, when one is there already."""
        try:
            with self._writing(path):
                obstore.put(self._objects, path, content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def replace(self, path: str, content: bytes) -> None:
        """Write an object whether or not one is there: for projections only, never for records."""
        with self._writing(path):
            obstore.put(self._objects, path, content)

    def get(self, path: str) -> bytes | None:
        """The bytes of an object, or None when there is none."""
        try:
            with self._people_can_read_errors(path):
                return bytes(obstore.get(self._objects, path).bytes())
        except FileNotFoundError:
            return None

    def get_all(self, paths: Sequence[str]) -> dict[str, bytes | None]:
        """What `get` gives for each path, in their order; many small objects are read at a time."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(paths, pool.map(self.get, paths), strict=True))

    def copy_out(self, path: str, file: Path) -> bool:
        """Copy an object to a file in chunks; False when there is none."""
        try:
            with self._people_can_read_errors(path), file.open("wb") as opened:
                for chunk in obstore.get(self._objects, path):
                    opened.write(chunk)
        except FileNotFoundError:
            return False
        return True

    def remove(self, path: str) -> None:
        """Remove an object, if it is there: for what must be forgotten, or is used no more."""
        try:
            with self._people_can_read_errors(path):
                obstore.delete(self._objects, path)
        except FileNotFoundError:
            return

    def list(self, prefix: str) -> list[str]:
        """Paths of the objects below a prefix, in order."""
        return sorted(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Path and bytes of each object below a prefix."""
        return {item["path"]: item["size"] for item in self._listed(prefix)}

    def written(self, prefix: str) -> dict[str, datetime]:
        """Path of each object below a prefix, and when it was written last."""
        return {item["path"]: item["last_modified"] for item in self._listed(prefix)}

    def written_at(self, path: str) -> datetime | None:
        """When an object was written last; None when it is not there."""
        try:
            with self._people_can_read_errors(path):
                return obstore.head(self._objects, path)["last_modified"]
        except FileNotFoundError:
            return None

    def folders(self) -> Iterable[str]:
        """The names of the folders at the top."""
        with self._people_can_read_errors("its folders"):
            return obstore.list_with_delimiter(self._objects)["common_prefixes"]

    def keep(self, content: bytes) -> Output:
        """Store bytes under their sha256; an object of that name with other bytes is mended.

        Written in any case: its age begins anew, so that nobody takes it for a leftover of long ago.
        """
        output = Output.of(content)
        self.replace(object_path(output.sha256), content)
        return output

    def keep_file(self, file: Path) -> Output:
        """Store a file under its sha256, without reading it into memory; as `keep` does otherwise."""
        output = Output.of(file)
        self.copy_in(file, object_path(output.sha256), str(file))
        return output

    def copy_in(self, file: Path, path: str, what: str) -> None:
        """Write a file as an object of that path, in chunks; `what` it is, for people's errors."""
        with self._writing(what):
            obstore.put(self._objects, path, file)

    def holds(self, output: Output) -> bool:
        """Whether the store has an object of that name and size; its bytes are not read."""
        try:
            with self._people_can_read_errors(output.sha256):
                return obstore.head(self._objects, object_path(output.sha256))["size"] == output.size
        except FileNotFoundError:
            return False

    def is_intact(self, output: Output) -> bool:
        """Whether the bytes in the store are those that the output names; reads all of them."""
        if not self.holds(output):
            return False
        digest = hashlib.sha256()
        with self._people_can_read_errors(output.sha256):
            for chunk in obstore.get(self._objects, object_path(output.sha256)):
                digest.update(chunk)
        return digest.hexdigest() == output.sha256

    def read(self, output: Output) -> bytes:
        """The bytes of an output; raises Tampered when they are not the ones written."""
        content = self.get(object_path(output.sha256))
        if content is None or sha256(content) != output.sha256:
            raise Tampered(_tampered(output))
        return content

    def fetch(self, output: Output, file: Path) -> Path:
        """Copy an output to a file in chunks; raises Tampered when its bytes are not those written."""
        digest = hashlib.sha256()
        try:
            with self._people_can_read_errors(output.sha256), file.open("wb") as opened:
                for chunk in obstore.get(self._objects, object_path(output.sha256)):
                    digest.update(chunk)
                    opened.write(chunk)
        except FileNotFoundError:
            raise Tampered(_tampered(output)) from None
        if digest.hexdigest() != output.sha256:
            raise Tampered(_tampered(output))
        return file

    def remove_half_written(self, before: datetime) -> tuple[str, ...]:
        """Remove what processes that were killed had half written, and nobody wrote to since a moment;
        returns the names of the files.

        In a bucket it cannot be seen: there the rule AbortIncompleteMultipartUpload of its lifecycle does it.
        """
        if "://" in self.uri:
            return ()
        files = [file for file in Path(self.uri).rglob("*#*") if _HALF_WRITTEN.search(file.name)]
        old = [file for file in files if file.stat().st_mtime < before.timestamp()]
        for file in old:
            file.unlink(missing_ok=True)
        return tuple(str(file.relative_to(self.uri)) for file in old)

    def table_uri(self, name: str, folder: str = "tables") -> str:
        """Where the Delta table of that name lies."""
        return f"{self.uri if '://' in self.uri else Path(self.uri).absolute()}/{folder}/{name}"

    def _listed(self, prefix: str) -> Iterator[Any]:
        with self._people_can_read_errors(prefix):
            for batch in obstore.list(self._objects, prefix):
                yield from batch

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        try:
            with self._people_can_read_errors(what):
                yield
        except FileNotFoundError as error:
            reason = str(error).splitlines()[0]
            raise Rejected(f"store {self.uri}: no such bucket, or no such user: {reason}") from error

    @contextmanager
    def _people_can_read_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (AlreadyExistsError, FileNotFoundError):
            raise
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise Rejected(f"store {self.uri}: no right to {what}; check credentials: {error}") from error
        except (BaseError, OSError) as error:
            raise Transient(store_trouble(self.uri, what, error)) from error


def object_path(digest: str) -> str:
    """Where the object with that sha256 lies in the store."""
    return f"objects/{digest[:2]}/{digest}"


def _tampered(output: Output) -> str:
    return (
        f"object {output.sha256[:12]} of {output.size} bytes is missing or changed in the store; "
        "remove its receipt to make it again"
    )


def is_full(error: Exception) -> bool:
    """Whether a write failed for lack of space or quota."""
    return any(sign in str(error) for sign in ("No space left", "File too large", "Disk quota"))


def store_trouble(uri: str, what: str, error: Exception) -> str:
    """What a person should do about an error of the store."""
    text = str(error)
    if is_full(error):
        return (
            f"no space left for {what} in store {uri} or in the scratch folder {tempfile.gettempdir()}: "
            "free space, then clear this task"
        )
    return f"store {uri} does not answer for {what}; retry when it is back: {text.splitlines()[0]}"


def open_store(options: Mapping[str, str] | None = None) -> Store:
    """The store that PERENNIAL_STORE names; by default a folder below PERENNIAL_HOME."""
    return Store(os.environ.get("PERENNIAL_STORE") or f"{home_folder()}/store", options)


def home_folder() -> Path:
    """Where state lies unless a setting says otherwise: PERENNIAL_HOME, or `.perennial` in the project."""
    return Path(os.environ.get("PERENNIAL_HOME") or Path(__file__).resolve().parents[3] / ".perennial")
