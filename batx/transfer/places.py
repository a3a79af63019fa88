"""Where data are kept: given, in the environment, in the configuration, or a folder of the user."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

from batx.errors import FileFormatError, MissingFileError

__all__ = ["VARIABLE", "config_file", "data_directory"]

VARIABLE = "BATX_DATA"


def data_directory(path: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in which observations are kept; it need not exist.

    The first of these that is given: `path`; the environment variable ``BATX_DATA``; ``data = "..."`` in the
    configuration file (see `config_file`); else ``batx`` in the user's folder for data.

    Raises
    ------
    FileFormatError
        If the configuration file cannot be understood.
    MissingFileError
        If it cannot be told because the user has no home.

    Examples
    --------
    >>> data_directory("data").name
    'data'
    """
    if path is not None:
        return _expanded(path)
    named = os.environ.get(VARIABLE)
    if named:
        return _expanded(named)
    configured = _configured()
    if configured:
        return _expanded(configured)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "batx"
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / "batx"
    return _absolute("XDG_DATA_HOME", Path(".local") / "share") / "batx"


def config_file() -> Path:
    """Return where the configuration is: ``batx/config.toml`` in ``$XDG_CONFIG_HOME`` or ``~/.config``.

    Examples
    --------
    >>> config_file().name
    'config.toml'
    """
    return _absolute("XDG_CONFIG_HOME", Path(".config")) / "batx" / "config.toml"


def _absolute(variable: str, below_home: Path) -> Path:
    """Return the folder of an environment variable if it is absolute, as the XDG rules demand."""
    named = os.environ.get(variable, "")
    return Path(named) if os.path.isabs(named) else _home() / below_home


def _home() -> Path:
    return _expanded("~")


def _expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` replaced.

    Raises
    ------
    MissingFileError
        If the user meant has no home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise MissingFileError(
            f"{os.fspath(path)}: {error}; set $HOME, or name a folder with ${VARIABLE}"
        ) from error


def _configured() -> str | None:
    file = config_file()
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FileFormatError(f'{file}: {error}; expected TOML such as: data = "folder"') from error
    found = settings.get("data")
    if found is not None and (not isinstance(found, str) or not found):
        raise FileFormatError(
            f'{file}: found data = {found!r}, expected the name of a folder, data = "folder"'
        )
    return found
