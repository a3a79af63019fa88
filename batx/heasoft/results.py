"""What a call of a tool gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from batx.errors import ParameterError

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """A finished call: what it made, and how.

    Attributes
    ----------
    task
        Name of the tool.
    outputs
        Parameter to the file or folder that was made; for an edited file, its changed copy.
    products
        Name to the files that the tool named itself.
    command
        The command line as it was run, without credentials.
    parameters
        Every parameter with the value that the tool took, its defaults too.
    values
        Parameters as the tool left them: some give their answer so.
    code
        Return code.
    reason
        Empty, or ``"timeout"`` or ``"abandoned"`` for a run that was ended.
    seconds
        How long the tool ran.
    version
        Of the software and the program.
    backend
        Name of the backend.
    log
        What the tool said, without credentials; of a flood the first and the last part.
    log_file
        Where that is kept; `None` if it is not.
    cached
        Whether the call had been made before and was not made again.
    """

    task: str
    outputs: Mapping[str, Path] = field(default_factory=dict)
    products: Mapping[str, list[Path]] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    code: int = 0
    reason: str = ""
    seconds: float = 0.0
    version: str = ""
    backend: str = ""
    log: str = ""
    log_file: Path | None = None
    cached: bool = False

    def __getitem__(self, name: str) -> Path:
        """Return one output; raise `ParameterError` if there is none of that name."""
        if name not in self.outputs:
            raise ParameterError(
                f"{self.task} made no output {name!r}; it made {', '.join(self.outputs) or 'none'}"
            )
        return self.outputs[name]

    def open(self, name: str = "outfile", **options: Any) -> xr.Dataset:
        """Open one output with `batx.open_dataset`, which takes the options.

        Parameters
        ----------
        name
            The output.
        **options
            Those of `batx.open_dataset`.

        Raises
        ------
        ParameterError
            If there is no output of that name.
        FileFormatError
            If it is no kind of file that batx reads.

        Examples
        --------
        >>> Result("batbinevt").open()
        Traceback (most recent call last):
        batx.errors.ParameterError: batbinevt made no output 'outfile'; it made none
        """
        from batx.io.open import open_dataset

        return open_dataset(self[name], **options)
