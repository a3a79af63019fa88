"""Files from elsewhere: bounded, resumed, checked, and never outside the folder they are meant for."""

from __future__ import annotations

from batx.transfer.downloads import download, download_all
from batx.transfer.items import Item, Progress
from batx.transfer.limits import Limits
from batx.transfer.listings import Entry, entries
from batx.transfer.places import data_directory
from batx.transfer.reading import exists, read_bytes
from batx.transfer.unpacking import unpack

__all__ = [
    "Entry",
    "Item",
    "Limits",
    "Progress",
    "data_directory",
    "download",
    "download_all",
    "entries",
    "exists",
    "read_bytes",
    "unpack",
]
