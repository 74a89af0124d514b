"""Follows the release documents: loads what they name and swaps it in, off the event loop.

They are read from the store, or from where whoever makes the models says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pydantic import ValidationError

from include.lifecycle.errors import LifecycleError, Rejected
from include.lifecycle.release.document import Release, ReleaseDocument, newest_paths
from include.lifecycle.store.objects import Store
from include.serving.metrics import Metrics, VersionMetrics
from include.serving.packages import PackageCache, load
from include.serving.rows import layout_of
from include.serving.served import Followed, Served, candidate_of

_log = logging.getLogger(__name__)
_PATIENCE = 5.0


@dataclass(frozen=True)
class _Failure:
    content: bytes | None
    retry_at: float


@dataclass(frozen=True)
class _Awaited:
    """A document whose champion is followed and whose candidate is still to be loaded."""

    document: ReleaseDocument
    retry_at: float = 0.0


class Models:
    """Every model with a release document, as fresh as the last poll."""

    def __init__(
        self,
        store: Store,
        cache: PackageCache,
        metrics: Metrics,
        *,
        every: float = 0.5,
        retry_after: float = 2.0,
        documents: Callable[[], Mapping[str, bytes | None]] | None = None,
    ) -> None:
        self._documents_of_now = documents or (lambda: _documents_in(store))
        self._cache, self._metrics = cache, metrics
        self._every, self._retry_after = every, retry_after
        self._followed: Mapping[str, Followed] = {}
        self._documents: dict[str, bytes | None] = {}
        self._failures: dict[str, _Failure] = {}
        self._awaited: dict[str, _Awaited] = {}
        self._stopped, self._polled = threading.Event(), threading.Event()
        self._store_trouble: str | None = "the store has not been read yet; ask again in a second"
        self._ready = False
        self._thread = threading.Thread(target=self._run, name="loader", daemon=True)

    @property
    def followed(self) -> Mapping[str, Followed]:
        """The models by name; never changed in place, so that any thread may read it."""
        return self._followed

    @property
    def store_trouble(self) -> str | None:
        """Why the last poll of the store failed, or None."""
        return self._store_trouble

    @property
    def ready(self) -> bool:
        """Whether this server has had a champion, and none that it waited for, at once.

        It stays so: a later model that does not load, or a store that is away for a while, keeps nobody
        from the models that answer.
        """
        return self._ready

    def start(self) -> None:
        """Poll in the background; returns after the first poll, or sooner when the store is slow."""
        self._thread.start()
        self._polled.wait(_PATIENCE)

    def stop(self) -> None:
        """End the polling, without waiting for a store that does not answer."""
        self._stopped.set()
        self._thread.join(1.0)

    def poll(self) -> None:
        """Look at all release documents once; never raises."""
        try:
            contents = self._contents()
        except Exception as error:
            self._metrics.poll_failures.inc()
            if str(error) != self._store_trouble:
                _log.error("releases cannot be read, serving goes on: %s", error)
            self._store_trouble = str(error)
            return
        for model, content in contents.items():
            self._follow(model, content)
        self._store_trouble = None
        states = self._followed.values()
        self._ready |= any(state.served for state in states) and not any(state.waits for state in states)
        # After all champions: nobody waits for a candidate.
        for model, awaited in list(self._awaited.items()):
            self._follow_candidate(model, awaited)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.poll()
            self._polled.set()
            self._stopped.wait(self._every)

    def _contents(self) -> dict[str, bytes | None]:
        """The documents by model; None where one was there before and is gone."""
        return {**dict.fromkeys(self._followed), **self._documents_of_now()}

    def _follow(self, model: str, content: bytes | None) -> None:
        before = self._followed.get(model, Followed(model))
        if self._is_settled(model, content):
            return
        try:
            document = _parse(model, content)
            served = self._serve(before, document.champion) if document.champion else None
        except Exception as error:
            now = self._failed(before, content, error)
        else:
            self._failures.pop(model, None)
            self._documents[model] = content
            now = self._following(document, served, before)
        self._publish(before, now)

    def _is_settled(self, model: str, content: bytes | None) -> bool:
        """Whether this document is followed already, or failed too short a time ago."""
        failure = self._failures.get(model)
        if failure is not None:
            return failure.content == content and time.monotonic() < failure.retry_at
        return model in self._documents and self._documents[model] == content

    def _following(self, document: ReleaseDocument, champion: Served | None, before: Followed) -> Followed:
        """The model with this champion, and with the document's candidate where it is loaded already."""
        self._awaited.pop(document.model, None)
        now = Followed(document.model, champion, seq=document.seq)
        if document.candidate is None or champion is None:
            return now
        if (served := before.loaded(document.candidate)) is not None:
            return replace(now, candidate=candidate_of(document, served, champion, before))
        self._awaited[document.model] = _Awaited(document)
        return now

    def _follow_candidate(self, model: str, awaited: _Awaited) -> None:
        before, document = self._followed[model], awaited.document
        if time.monotonic() < awaited.retry_at or before.served is None or document.candidate is None:
            return
        try:
            served = self._serve(before, document.candidate)
        except Exception as error:
            self._awaited[model] = _Awaited(document, time.monotonic() + self._retry_after)
            now = self._in_trouble(before, f"candidate: {_words(error)}")
        else:
            del self._awaited[model]
            candidate = candidate_of(document, served, before.served, before)
            now = replace(before, candidate=candidate, trouble=None)
        self._publish(before, now)

    def _serve(self, before: Followed, release: Release) -> Served:
        if (served := before.loaded(release)) is not None:
            return served
        folder = self._cache.fetch(before.model, release)
        predictor = load(folder, release)
        metrics = VersionMetrics(self._metrics, before.model, release.version)
        return Served(before.model, release, predictor, layout_of(predictor), metrics)

    def _failed(self, before: Followed, content: bytes | None, error: Exception) -> Followed:
        self._awaited.pop(before.model, None)
        self._failures[before.model] = _Failure(content, time.monotonic() + self._retry_after)
        return self._in_trouble(before, _words(error))

    def _in_trouble(self, before: Followed, trouble: str) -> Followed:
        self._metrics.reload_failures.labels(before.model).inc()
        if trouble != before.trouble:
            still = _versions(before)
            _log.error("%s: release not followed, still serving %s: %s", before.model, still, trouble)
        return replace(before, trouble=trouble)

    def _publish(self, before: Followed, now: Followed) -> None:
        self._followed = {**self._followed, now.model: now}
        self._metrics.begin(now.model)
        self._metrics.trouble.labels(now.model).set(now.trouble is not None)
        if now.seq is not None:
            self._metrics.release.labels(now.model).set(now.seq)
        for labels in _infos(before) - _infos(now):
            self._metrics.info.remove(*labels)
        for labels in _infos(now):
            self._metrics.info.labels(*labels).set(1)
        if (candidate := now.candidate) is None:
            self._metrics.difference.forget(now.model)
        else:
            version, counting = candidate.served.release.version, candidate.counting
            self._metrics.difference.follow(now.model, version, lambda: counting.difference)
        if now.versions != before.versions:
            _log.info("%s: now serving %s", now.model, _versions(now))
            if now.versions:
                self._cache.keep_only(now.model, [served.release for served in now.versions])


def _documents_in(store: Store) -> dict[str, bytes | None]:
    return {model: store.get(path) for model, path in newest_paths(store).items()}


def _parse(model: str, content: bytes | None) -> ReleaseDocument:
    if content is None:
        raise Rejected(f"release of {model}: it is gone; reconcile the ledger to write it again")
    try:
        document = ReleaseDocument.model_validate_json(content)
    except ValidationError as error:
        raise Rejected(f"release of {model}: not a release document: {error}") from error
    if document.model != model:
        raise Rejected(f"release of {model}: its document is about {document.model}")
    return document


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, LifecycleError) else repr(error)


def _versions(followed: Followed) -> str:
    return " and ".join(served.release.version for served in followed.versions) or "nothing"


def _infos(followed: Followed) -> set[tuple[str, str, str, str]]:
    """The labels of the versions that answer."""
    arms = "champion", followed.candidate.arm if followed.candidate else ""
    return {
        (served.model, served.release.version, served.release.as_of.isoformat(), arm)
        for served, arm in zip(followed.versions, arms, strict=False)
    }
