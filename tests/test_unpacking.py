"""Archives from elsewhere: what they unpack to, and what they are refused for."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from batx.errors import FileFormatError, MissingFileError, WriteError
from batx.transfer import unpack


def tar(path: Path, *members: tuple[str, bytes | tarfile.TarInfo], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as made:
        for name, data in members:
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(data, bytes):
                info.size = len(data)
            made.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def all_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar(tmp_path: Path, mode: str):
    members = ("./0123/ODF/a.FIT", b"a"), ("0123", special("0123", tarfile.DIRTYPE)), ("0123/b.FIT", b"bb")
    path = tar(tmp_path / "odf.tar", *members, mode=mode)
    found = unpack(path, tmp_path / "out")
    assert {item.relative_to(tmp_path / "out").as_posix(): item.read_bytes() for item in found} == {
        "0123/ODF/a.FIT": b"a",
        "0123/b.FIT": b"bb",
    }
    with pytest.raises(WriteError, match="overwrite=True"):
        unpack(path, tmp_path / "out")
    assert unpack(path, tmp_path / "out", overwrite=True) == found
    assert all_files(tmp_path / "out") == ["0123", "0123/ODF", "0123/ODF/a.FIT", "0123/b.FIT"]


def test_zip_and_gz(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("a/b.txt", "b")
    assert [path.name for path in unpack(tmp_path / "x.zip", tmp_path / "out")] == ["b.txt"]
    (tmp_path / "c.evt.gz").write_bytes(gzip.compress(b"c"))
    assert unpack(tmp_path / "c.evt.gz", tmp_path / "out")[0].read_bytes() == b"c"


HOSTILE = {
    "climbs": ("../../x", b"x"),
    "absolute": ("/tmp-x/x", b"x"),
    "backslash": ("..\\x", b"x"),
    "hidden": (".bashrc", b"x"),
    "symlink": ("l", special("l", tarfile.SYMTYPE, "..")),
    "hardlink": ("l", special("l", tarfile.LNKTYPE, "/etc/hostname")),
    "fifo": ("l", special("l", tarfile.FIFOTYPE)),
    "device": ("l", special("l", tarfile.CHRTYPE)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_members_change_nothing(tmp_path: Path, case: str):
    path = tar(tmp_path / "x.tar.gz", ("good", b"good"), HOSTILE[case])
    with pytest.raises(FileFormatError, match="refused"):
        unpack(path, tmp_path / "in" / "out")
    assert all_files(tmp_path) == ["in", "in/out", "x.tar.gz"]


def test_a_link_that_a_later_member_would_pass(tmp_path: Path):
    path = tar(tmp_path / "x.tar", ("d", special("d", tarfile.SYMTYPE, str(tmp_path))), ("d/x", b"x"))
    with pytest.raises(FileFormatError, match="link"):
        unpack(path, tmp_path / "out")
    assert all_files(tmp_path) == ["out", "x.tar"]


@pytest.mark.parametrize("names", [("a", "a"), ("A", "a"), ("a", "a/b")])
def test_names_that_clash(tmp_path: Path, names: tuple[str, str]):
    path = tar(tmp_path / "x.tar", *((name, b"x") for name in names))
    with pytest.raises(FileFormatError, match="refused"):
        unpack(path, tmp_path / "out")


def test_bombs(tmp_path: Path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(50_000_000), 1))
    with pytest.raises(FileFormatError, match=r"more than 1e\+06 bytes"):
        unpack(tmp_path / "x.gz", tmp_path / "out", max_bytes=1e6)
    path = tar(tmp_path / "y.tar.gz", *((f"{k}", bytes(600_000)) for k in range(3)))
    with pytest.raises(FileFormatError, match="bytes"):
        unpack(path, tmp_path / "out", max_bytes=1e6)
    header = tarfile.TarInfo("PaxHeaders/x")
    header.type, header.size = tarfile.XHDTYPE, 10**11
    (tmp_path / "z.tar").write_bytes(header.tobuf() + bytes(1024))
    with pytest.raises(FileFormatError, match="header"):
        unpack(tmp_path / "z.tar", tmp_path / "out")
    assert all_files(tmp_path / "out") == []


@pytest.mark.parametrize("cut", [0, 10, 600])
def test_damaged(tmp_path: Path, cut: int):
    path = tar(tmp_path / "x.tar.gz", ("a", random.Random(0).randbytes(5000)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FileFormatError):
        unpack(path, tmp_path / "out")
    assert all_files(tmp_path) == ["out", "x.tar.gz"]
    with pytest.raises(MissingFileError):
        unpack(tmp_path / "none.tar", tmp_path / "out")


@pytest.mark.parametrize("change", [lambda data: data[:-9], lambda data: data[:-6] + b"xx" + data[-4:]])
def test_the_checksum_of_a_packed_tar_archive_is_compared(tmp_path: Path, change: Any):
    """It comes after what fills up the archive, which need not be read for its files."""
    path = tar(tmp_path / "x.tar.gz", ("a", random.Random(0).randbytes(5000)))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FileFormatError, match="damaged"):
        unpack(path, tmp_path / "out")
    assert all_files(tmp_path / "out") == []
    whole = gzip.decompress(tar(path, ("a", b"1")).read_bytes())
    path.write_bytes(gzip.compress(whole + bytes(20_000_000)))
    with pytest.raises(FileFormatError, match="after the end"):
        unpack(path, tmp_path / "out")


def test_zip_of_an_unknown_method(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("a.txt", b"a")
    data = bytearray((tmp_path / "x.zip").read_bytes())
    for header, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(header) + at] = 99
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(FileFormatError, match="damaged, or not a tar, zip or gz file"):
        unpack(tmp_path / "x.zip", tmp_path / "out")
    assert not (tmp_path / "out" / "a.txt").exists()


def test_encrypted_and_linked_zip(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        made.writestr(info, "/etc/hostname")
    with pytest.raises(FileFormatError, match="link"):
        unpack(tmp_path / "x.zip", tmp_path / "out")
