"""What SPICE's parser makes of captions, kept on disk: a caption is parsed once on a machine.

The parser is the published tool's own (SPICE 1.0 with CoreNLP 3.6.0), driven through a JavaScript engine that runs beside
it, so that it stays warm and hands out its proposals before they are merged into a graph.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from fusion_eval.errors import DataError, MissingAssetError
from fusion_eval.files import cache_dir
from fusion_eval.java.lines import LineProcess, ToolError
from fusion_eval.java.runtime import Java, machine_memory, processors
from fusion_eval.metrics.scene_graph import Proposal, words_of
from fusion_eval.provision import artifacts_of

Synsets = frozenset[int]

# The parser's time grows with the cube of a sentence's length, its memory with the square.
LONGEST = 100  # words
_BATCH = 64  # captions a question, and of long ones fewer
_BATCH_COST = 3 * LONGEST**3
_BASE_HEAP, _HEAP_OF_THREAD = 2048, 1024  # MiB
_SHOWN = 60

_ENGINE = "org.mozilla.javascript.tools.shell.Main"


class SceneParser:
    """Proposals and synsets by SPICE's parser, each asked for once.

    Args:
        java: the Java to run it.
        jars: the tool's files.
        threads: captions parsed at a time; by default one a processor.
    """

    def __init__(self, java: Java, jars: Sequence[Path], threads: int | None = None) -> None:
        memory = machine_memory() * 2 // 3
        fitting = max(1, (memory - _BASE_HEAP) // _HEAP_OF_THREAD)
        self.threads = min(threads or processors(), fitting)
        heap = min(_BASE_HEAP + _HEAP_OF_THREAD * self.threads, memory)
        self._resources = contextlib.ExitStack()
        script = self._resources.enter_context(as_file(files("fusion_eval.java") / "spice_parser.js"))
        path = os.pathsep.join(map(str, jars))
        arguments = (f"-Dfusion.threads={self.threads}", "-cp", path, _ENGINE, "-opt", "-1", str(script))
        self._process = LineProcess(
            java.command(heap, *arguments, threads=self.threads),
            greeting=json.dumps({"captions": ["a dog barks"]}),
            answer_seconds=300.0,
            idle_seconds=60.0,
        )
        self._store = _Store(cache_dir() / "spice" / f"{_fingerprint()}.sqlite")

    def close(self) -> None:
        """End the parser; it starts again when it is needed."""
        self._process.close()

    def proposals(
        self, captions: Iterable[str], parsed: Callable[[int, int], object] | None = None
    ) -> dict[str, list[Proposal]]:
        """Return what each caption proposes.

        Args:
            captions: captions of tokens with spaces between.
            parsed: is told how many of the captions that were not known are parsed, of how many.

        Raises:
            DataError: a caption is too long, or the parser fails at it.
            MissingAssetError: the parser does not start.
        """
        wanted = dict.fromkeys(captions)
        _check_lengths(wanted)
        known = self._store.read("proposals", wanted)
        if "" in wanted:
            known[""] = []
        new = [caption for caption in wanted if caption not in known]
        done = 0
        for batch in _batches(new):
            found = dict(self._parse(batch))
            self._store.write("proposals", found)
            known |= found
            done += len(batch)
            if parsed is not None:
                parsed(done, len(new))
        return {caption: [tuple(proposal) for proposal in known[caption]] for caption in wanted}

    def synsets(self, proposals: Iterable[Sequence[Proposal]]) -> dict[str, Synsets]:
        """Return the synsets of every word of the proposals.

        Raises:
            MissingAssetError: the parser does not start.
        """
        wanted = sorted(set().union(*map(words_of, proposals)))
        known = self._store.read("synsets", wanted)
        new = [word for word in wanted if word not in known]
        if new:
            answer = self._ask({"words": new})
            if "error" in answer:
                raise DataError(f"SPICE could not look up words of the captions ({answer['error']}); correct them.")
            found = dict(zip(new, answer["synsets"], strict=True))
            self._store.write("synsets", found)
            known |= found
        return {word: frozenset(known[word]) for word in wanted}

    def _parse(self, captions: Sequence[str]) -> Iterator[tuple[str, list[list[str]]]]:
        """Yield captions with their proposals; one that the parser fails at is found by halves."""
        try:
            answer = self._ask({"captions": captions})
        except ToolError as failure:
            answer = {"error": failure.reason}
        if "error" not in answer:
            yield from zip(captions, answer["tuples"], strict=True)
        elif len(captions) > 1:
            middle = len(captions) // 2
            yield from self._parse(captions[:middle])
            yield from self._parse(captions[middle:])
        else:
            raise DataError(f"SPICE's parser fails at the caption '{_shown(captions[0])}' ({answer['error']}).")

    def _ask(self, question: dict[str, Sequence[str]]) -> Any:
        try:
            (answer,) = self._process.ask([json.dumps(question)])
        except ToolError as failure:
            if failure.index is None:
                raise MissingAssetError(
                    f"SPICE's parser {failure.reason}; see that there is memory for it."
                ) from failure
            raise
        return json.loads(answer)


class _Store:
    """A table of JSON values by text, shared by all processes; where it cannot be used, nothing is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, table: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values that are kept for some keys."""
        try:
            with self._open() as connection:
                query = f"SELECT value FROM {table} WHERE key = ?"
                rows = ((key, connection.execute(query, (key,)).fetchone()) for key in keys)
                return {key: json.loads(row[0]) for key, row in rows if row is not None}
        except (sqlite3.OperationalError, OSError):
            return {}
        except (sqlite3.DatabaseError, ValueError):  # a damaged file is worth no more than none
            self._path.unlink(missing_ok=True)
            return {}

    def write(self, table: str, values: dict[str, Any]) -> None:
        """Keep values."""
        rows = [(key, json.dumps(value)) for key, value in values.items()]
        with contextlib.suppress(sqlite3.Error, OSError), self._open() as connection, connection:
            connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", rows)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self._path, timeout=60)) as connection:
            for table in ("proposals", "synsets"):
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID"
                )
            yield connection


def _batches(captions: Iterable[str]) -> Iterator[list[str]]:
    """Yield the captions in parts that take the parser about as long."""
    batch: list[str] = []
    cost = 0
    for caption in captions:
        own = _words(caption) ** 3
        if batch and (len(batch) == _BATCH or cost + own > _BATCH_COST):
            yield batch
            batch, cost = [], 0
        batch.append(caption)
        cost += own
    if batch:
        yield batch


def _words(caption: str) -> int:
    return caption.count(" ") + 1


def _check_lengths(captions: Iterable[str]) -> None:
    for caption in captions:
        if _words(caption) > LONGEST:
            raise DataError(
                f"The text '{_shown(caption)}' has {_words(caption)} words, and SPICE takes {LONGEST}; shorten it."
            )


def _fingerprint() -> str:
    """Return a name for the files that decide what a caption proposes: all but the engine that drives them."""
    hashes = sorted(one.sha256 for one in artifacts_of("spice") if not one.name.startswith("rhino"))
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


def _shown(caption: str) -> str:
    return caption if len(caption) <= _SHOWN else f"{caption[:_SHOWN]}…"
