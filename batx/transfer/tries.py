"""One try to fetch what is missing of a file, and everything that it must fulfil to be taken for whole."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass

from batx.transfer.contents import HEAD, check_contents, check_whole, kind_of
from batx.transfer.items import Item, Progress
from batx.transfer.jobs import Job
from batx.transfer.limits import shown
from batx.transfer.parts import Part, Progressed, check_sum_text, file_sum
from batx.transfer.trouble import AttemptError
from batx.transfer.web import Answer

__all__ = ["Try"]


@dataclass(frozen=True)
class Try:
    """A try to fetch a file from one address.

    Attributes
    ----------
    job
        Connections, limits and the stop sign.
    item
        The file, with what is known of it.
    url
        The address.
    part
        The unfinished file, which is added to.
    progress
        Called with name, bytes and total.
    """

    job: Job
    item: Item
    url: str
    part: Part
    progress: Progress | None = None

    @property
    def kind(self) -> str:
        """What the file must be."""
        return self.item.kind or kind_of(self.item.name)

    def run(self) -> None:
        """Add what is missing.

        Raises
        ------
        AttemptError
            If the file is not whole then, or not what it should be.
        """
        state, begin = self.part.state(), self._begin()
        if begin and begin == (state.total if self.item.size is None else self.item.size):
            check_contents(self.part.head(), self.kind)
        else:
            same = state.url == shown(self.url)
            answer = self.job.get(self.url, start=begin, validator=state.validator if same else "")
            with closing(answer):
                total = self._accepted(answer, state)
                done = self._receive(answer, total)
            self._check_end(answer, done, total)
        self._check_contents()

    def _begin(self) -> int:
        """Return how many of the bytes that are there can be used."""
        state, have = self.part.state(), self.part.size()
        # without the server's word that it is the same version, only a checksum can tell
        same = bool(state.url == shown(self.url) and state.validator) or self.item.checksum is not None
        return have if same and (self.item.size is None or have <= self.item.size) else 0

    def _accepted(self, answer: Answer, state: Progressed) -> int | None:
        """Return the size of the whole file as the server tells it, if its answer can be used."""
        total = state.total if answer.start and answer.total is None else answer.total
        if answer.start and state.total not in (None, total):
            raise AttemptError("the file is another one than before", restart=True)
        if total is not None:
            self._check_most(total)
            if self.item.size not in (None, total):
                raise _other_size(total, self.item.size)
        # some servers call files that are gzip files packed for the way
        if answer.coding and not (self.kind == "gzip" and answer.coding in ("gzip", "x-gzip")):
            text = "the server compressed the file, which was not asked for"
            raise AttemptError(text, final=True, restart=True)
        folder = self.part.path.parent
        free = shutil.disk_usage(folder).free
        if total is not None and total - answer.start > free:
            text = f"{total - answer.start} bytes are to come and {free} are free in {folder}"
            raise AttemptError(text, final=True)
        return total

    def _receive(self, answer: Answer, total: int | None) -> int:
        """Write what arrives, and look at its beginning as soon as it is there; return the size then."""
        self.part.cut(answer.start)
        self.part.note(Progressed(shown(self.url), answer.validator, total))
        done, judged = answer.start, answer.start >= HEAD
        for piece in answer.pieces:
            done += len(piece)
            self.job.count(len(piece))
            self._check_most(done)
            self.part.file.write(piece)
            if not judged and done >= HEAD:
                check_contents(self.part.head(), self.kind, answer.html)
                judged = True
            if self.progress:
                self.progress(self.item.name, done, total)
        if not judged:
            check_contents(self.part.head(), self.kind, answer.html)
        return done

    def _check_most(self, size: int) -> None:
        most = self.job.limits.max_bytes
        if size > most:
            raise AttemptError(f"larger than {most:.3g} bytes (max_bytes)", final=True, restart=True)
        if self.item.size is not None and size > self.item.size:
            raise _other_size(size, self.item.size)

    def _check_end(self, answer: Answer, done: int, total: int | None) -> None:
        """Raise if what came ended before the file does."""
        expected = total if self.item.size is None else self.item.size
        if expected is not None:
            if done < expected:
                raise AttemptError(f"the connection broke off after {done} of {expected} bytes")
            if done > expected:
                raise AttemptError(f"found {done} bytes, expected {expected}", restart=True)
        elif not done:
            raise AttemptError("the connection broke off before the file began")
        elif not answer.delimited and self.item.checksum is None:
            self.part.file.seek(0)
            check_whole(self.part.file, self.kind, self.job.limits.max_bytes)

    def _check_contents(self) -> None:
        """Compare the whole file with its checksum, and see whether it is good otherwise."""
        if self.item.checksum is not None:
            kind, digits = check_sum_text(self.item.checksum)
            found = file_sum(self.part.file, kind)
            if found != digits:
                raise AttemptError(f"damaged: its {kind} is {found}, expected {digits}", restart=True)
        if self.item.check is not None:
            self.part.file.flush()
            if reason := self.item.check(self.part.path):
                raise AttemptError(f"damaged: {reason}", restart=True)


def _other_size(found: int, expected: int | None) -> AttemptError:
    return AttemptError(f"found {found} bytes, expected {expected}", final=True, restart=True)
