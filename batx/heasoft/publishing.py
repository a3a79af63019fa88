"""Finished outputs moved to their places."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path

from batx.errors import WriteError

__all__ = ["publish"]


def publish(moves: list[tuple[Path, Path]], replaceable: set[Path]) -> None:
    """Move finished outputs to their places, each at once; none if one of the places is taken.

    Parameters
    ----------
    moves
        What was made, and where it belongs.
    replaceable
        Targets that may be replaced.

    Raises
    ------
    WriteError
        If a target exists that may not be replaced, or cannot be written.
    """
    for _, target in moves:
        _require_free(target, replaceable)
    for made, target in moves:
        _require_free(target, replaceable)
        try:
            if target.is_dir() and not target.is_symlink() and target in replaceable:
                _replace_folder(made, target)
            else:
                _move(made, target)
        except OSError as error:
            raise WriteError(f"cannot write {target}: {error.strerror or error}") from error


def _require_free(target: Path, replaceable: set[Path]) -> None:
    if target not in replaceable and os.path.lexists(target):
        raise WriteError(
            f"{target} exists, or came to exist while the tool ran, and was not replaced; give "
            "overwrite=True, or choose another name"
        )


def _replace_folder(made: Path, target: Path) -> None:
    """Put a folder in the place of another one, which is back in its place if that fails."""
    aside = target.with_name(f".batx-{secrets.token_hex(8)}.old")
    os.rename(target, aside)
    try:
        _move(made, target)
    finally:
        if os.path.lexists(target):
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(aside, target)


def _move(made: Path, target: Path) -> None:
    try:
        os.replace(made, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # another file system: copy beside the target, then rename
        near = target.with_name(f".batx-{secrets.token_hex(8)}.tmp")
        try:
            if made.is_dir():
                shutil.copytree(made, near)
            else:
                shutil.copyfile(made, near)
            os.replace(near, target)
        finally:
            if near.is_dir():
                shutil.rmtree(near, ignore_errors=True)
            else:
                near.unlink(missing_ok=True)
