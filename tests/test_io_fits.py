"""Lazy columns and images: values as astropy reads them, only what is asked for is read, clear errors."""

from __future__ import annotations

import gzip
import pickle
import threading

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import batx
from batx.errors import BatxError, FileFormatError, MissingFileError, MissingVariableError
from batx.io import lazy
from batx.io.fits import read_hdus

ROWS = 50
RNG = np.random.default_rng(5)


def _table() -> fits.BinTableHDU:
    logical = RNG.integers(0, 2, ROWS).astype(bool)
    columns = [
        fits.Column("TIME", "D", unit="s", array=np.sort(RNG.uniform(0, 100, ROWS))),
        fits.Column("FLAG", "L", array=logical),
        fits.Column("FLAGS", "4L", array=np.stack([logical, ~logical, logical, logical], 1)),
        fits.Column("BITS", "11X", array=RNG.integers(0, 2, (ROWS, 11)).astype(bool)),
        fits.Column("BYTE", "B", array=RNG.integers(0, 256, ROWS).astype(np.uint8)),
        fits.Column("SBYTE", "B", bzero=-128, array=RNG.integers(-128, 128, ROWS).astype(np.int8)),
        fits.Column("SHORT", "I", array=RNG.integers(-(2**15), 2**15, ROWS).astype(np.int16)),
        fits.Column("USHORT", "I", bzero=2**15, array=RNG.integers(0, 2**16, ROWS).astype(np.uint16)),
        fits.Column("ULONG", "J", bzero=2**31, array=RNG.integers(0, 2**32, ROWS).astype(np.uint32)),
        fits.Column("HUGE", "K", array=RNG.integers(-(2**62), 2**62, ROWS)),
        fits.Column("FLOAT", "E", array=RNG.normal(size=ROWS).astype(np.float32)),
        fits.Column("COMPLEX", "C", array=RNG.normal(size=ROWS).astype(np.complex64)),
        fits.Column("VECTOR", "3E", array=RNG.normal(size=(ROWS, 3)).astype(np.float32)),
        fits.Column(
            "CUBE", "24I", dim="(4,3,2)", array=RNG.integers(0, 99, (ROWS, 2, 3, 4)).astype(np.int16)
        ),
        fits.Column("NAME", "7A", array=np.array([f"n{i}" for i in range(ROWS)])),
        fits.Column("WORDS", "6A", dim="(3,2)", array=np.array([[f"a{i % 9}", "b"] for i in range(ROWS)])),
        fits.Column("RAGGED", "PE()", array=_ragged()),
        fits.Column("RAGGEDQ", "QJ()", array=np.array([np.arange(i % 4) for i in range(ROWS)], dtype=object)),
    ]
    return fits.BinTableHDU.from_columns(columns, name="MIXTURE")


def _ragged() -> np.ndarray:
    rows = np.empty(ROWS, dtype=object)
    rows[:] = [RNG.normal(size=i % 5).astype(np.float32) for i in range(ROWS)]
    return rows


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("fits") / "mixture.fits"
    _table().writeto(path)
    return path


@pytest.mark.parametrize("name", [column.name for column in _table().columns])
def test_column_types(mixture, name):
    array = read_hdus(mixture)[1].array(name)
    with fits.open(mixture, uint=True) as file:
        expected = file[1].data[name]
        values = array.read()
        assert values.dtype == array.dtype
        assert values.shape == array.shape
        assert values.dtype.isnative
        if name.startswith("RAGGED"):
            fill = np.nan if name == "RAGGED" else 0
            for row, cells in zip(values, expected, strict=True):
                np.testing.assert_array_equal(row, [*cells, *[fill] * (len(row) - len(cells))])
        else:
            np.testing.assert_array_equal(values, np.asarray(expected))


@pytest.mark.parametrize("name", ["TIME", "BITS", "USHORT", "VECTOR", "CUBE", "NAME", "RAGGED"])
@pytest.mark.parametrize(
    "rows", [3, slice(5, 40, 7), slice(None, None, -3), [4, 1, 1, 30], np.arange(ROWS) > 30]
)
def test_indexing_is_that_of_the_whole(mixture, name, rows):
    ds = xr.open_dataset(mixture, engine="batx")
    variable = ds[name.lower()]
    whole = variable.copy(deep=True).load()
    xr.testing.assert_identical(variable[rows].load(), whole[rows])
    if variable.ndim > 1:
        xr.testing.assert_identical(variable[rows, ..., 1].load(), whole[rows, ..., 1])
        xr.testing.assert_identical(variable[rows, ..., [2, 0]].load(), whole[rows, ..., [2, 0]])


def test_scaling_and_undefined_values(tmp_path):
    """TSCAL, TZERO and TNULL; undefined rows are NaN; BLANK of an image likewise for floats."""
    energy = np.array([153, 200, -32768], np.int16)
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("TIME", "D", array=[1.0, 2.0, 3.0]),
            fits.Column("ENERGY", "I", array=energy),
            fits.Column("PI", "I", null=-1, array=np.array([5, -1, 7], np.int16)),
            fits.Column("OTHER", "I", null=-1, array=np.array([5, -1, 7], np.int16)),
        ],
        name="EVENTS",
    )
    table.header["TSCAL2"], table.header["TZERO2"], table.header["TNULL2"] = 0.1, 0.5, -32768
    table.writeto(tmp_path / "scaled.evt")
    ds = xr.open_dataset(tmp_path / "scaled.evt", engine="batx")
    np.testing.assert_allclose(ds["energy"].values, [15.8, 20.5, np.nan], rtol=1e-15)
    np.testing.assert_array_equal(ds["other"].values, [5, np.nan, 7])
    assert ds["pi"].dtype.kind == "i"
    assert ds["pi"].attrs["fits_null"] == -1

    image = fits.ImageHDU(np.arange(6, dtype=np.int16).reshape(2, 3))
    image.header["BSCALE"], image.header["BZERO"] = 2.0, 1.0
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "image.fits")
    raw = read_hdus(tmp_path / "image.fits")[1]
    with fits.open(tmp_path / "image.fits") as file:
        np.testing.assert_array_equal(raw.array().read(), file[1].data)


def test_large_columns_are_read_by_threads(tmp_path, monkeypatch):
    """The same values whether a column is read in one piece or in several."""
    monkeypatch.setattr(lazy, "_THREAD_BYTES", 64)
    table = _table()
    table.writeto(tmp_path / "many.fits")
    hdu = read_hdus(tmp_path / "many.fits")[1]
    with fits.open(tmp_path / "many.fits") as file:
        for name in ("TIME", "USHORT", "CUBE", "FLOAT"):
            np.testing.assert_array_equal(hdu.array(name).read(), file[1].data[name])


def test_large_images_do_not_stay_in_memory(tmp_path):
    """Reading 40 MB of images adds little to the mapped pages; what was let go is read again."""
    from pathlib import Path

    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc here")

    def mapped() -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith("RssFile"))
        return 1024 * int(line.split()[1])

    images = RNG.normal(size=(5, 1000, 2000)).astype(np.float32)
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(image, name=f"I{i}") for i, image in enumerate(images))]
    fits.HDUList(hdus).writeto(tmp_path / "large.fits")
    arrays = [hdu.array() for hdu in read_hdus(tmp_path / "large.fits")[1:]]
    arrays[0].read()
    before = mapped()
    for _ in range(2):
        for array, image in zip(arrays, images, strict=True):
            np.testing.assert_array_equal(array.read(), image)
    assert mapped() - before < 8e6


def test_text_table(tmp_path):
    table = fits.TableHDU.from_columns(
        [
            fits.Column("NAME", "A8", array=["Crab", "Cyg X-1"]),
            fits.Column("FLUX", "E12.5", unit="count/s", array=[1.5e-3, -2.25]),
            fits.Column("COUNT", "I6", array=[12, -7]),
        ]
    )
    table.writeto(tmp_path / "text.fits")
    ds = xr.open_dataset(tmp_path / "text.fits", engine="batx")
    assert ds["name"].values.tolist() == ["Crab", "Cyg X-1"]
    np.testing.assert_allclose(ds["flux"].values, [1.5e-3, -2.25])
    assert ds["count"].values.tolist() == [12, -7]


class _Counter:
    """Counts the values that lazy arrays hand out."""

    def __init__(self, monkeypatch):
        self.read = 0
        take = lazy.StridedArray._take

        def counted(array, key):
            values = take(array, key)
            self.read += values.size
            return values

        monkeypatch.setattr(lazy.StridedArray, "_take", counted)


@pytest.fixture
def event_file(tmp_path):
    """Write 10 000 events in two good-time intervals."""
    n = 10_000
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("TIME", "D", unit="s", array=6e8 + np.arange(n) * 1e-2),
            fits.Column("DET_ID", "I", array=np.arange(n).astype(np.int16)),
            fits.Column("EVENT_FLAGS", "B", array=np.zeros(n, np.uint8)),
            fits.Column("ENERGY", "E", unit="keV", array=np.linspace(15, 150, n).astype(np.float32)),
        ],
        name="EVENTS",
    )
    table.header["TELESCOP"], table.header["INSTRUME"] = "SWIFT", "BAT"
    gti = fits.BinTableHDU.from_columns(
        [
            fits.Column("START", "D", array=[6e8, 6e8 + 60]),
            fits.Column("STOP", "D", array=[6e8 + 50, 6e8 + 100]),
        ],
        name="STDGTI",
    )
    path = tmp_path / "events.evt"
    fits.HDUList([fits.PrimaryHDU(), table, gti]).writeto(path)
    return path


def test_opening_reads_no_events(event_file, monkeypatch):
    counter = _Counter(monkeypatch)
    ds = batx.open_dataset(event_file)
    assert counter.read == 4  # the good-time intervals
    assert batx.check(ds) == []
    ds["energy"].variable[100:110].load()
    assert counter.read == 14
    ds["detx"].variable[:5].load()
    assert counter.read == 19


def test_chunks_read_what_they_hold(event_file, monkeypatch):
    ds = batx.open_dataset(event_file, chunks={"event": 1000})
    counter = _Counter(monkeypatch)
    assert float(ds["energy"][:1000].mean()) > 15
    assert counter.read == 1000


def test_preferred_chunks_of_large_tables(event_file, monkeypatch):
    monkeypatch.setattr("batx.io.fits._CHUNK_ROWS", 4096)
    ds = batx.open_dataset(event_file, chunks={})
    assert ds.chunks["event"] == (4096, 4096, 1808)
    assert ds["detx"].chunks == ds["time"].chunks


def test_objects_travel(event_file):
    """Lazy Datasets can be sent to another process, without the data."""
    ds = batx.open_dataset(event_file)
    text = pickle.dumps(ds)
    assert len(text) < 20_000
    xr.testing.assert_identical(pickle.loads(text).load(), ds.load())


def test_changed_file_is_refused(event_file):
    text = pickle.dumps(batx.open_dataset(event_file))
    with event_file.open("ab") as file:
        file.write(b"\0" * 2880)
    with pytest.raises(FileFormatError, match="open it again"):
        pickle.loads(text)["energy"].load()


def test_threads_share_one_file(event_file):
    ds = batx.open_dataset(event_file)
    results: list[float] = []
    threads = [threading.Thread(target=lambda: results.append(float(ds["energy"].sum()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1


@pytest.mark.parametrize("in_memory", [2**30, 1000])
def test_gzip(event_file, tmp_path, monkeypatch, in_memory):
    """Gzip is told by content; a large file is inflated to a temporary one that leaves no trace."""
    monkeypatch.setattr("batx.io.source._IN_MEMORY", in_memory)
    path = tmp_path / "events_without_suffix"
    path.write_bytes(gzip.compress(event_file.read_bytes()))
    plain, zipped = batx.open_dataset(event_file), batx.open_dataset(path)
    xr.testing.assert_identical(plain.load(), zipped.load())


def test_time_and_energy_units_and_timezero(tmp_path):
    """Columns in other units are converted, TIMEZERO is added and does not stay behind."""
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("TIME", "D", unit="ms", array=[1000.0, 2000.0]),
            fits.Column("ENERGY", "E", unit="eV", array=[15_000.0, 20_000.0]),
        ],
        name="EVENTS",
    )
    table.header["TIMEZERO"], table.header["TSTART"] = 100.0, 0.5
    table.writeto(tmp_path / "units.evt")
    ds = batx.open_dataset(tmp_path / "units.evt")
    np.testing.assert_allclose(ds["time"].values, [101.0, 102.0])
    np.testing.assert_allclose(ds["energy"].values, [15.0, 20.0])
    assert ds["energy"].attrs["units"] == "keV"
    assert ds.attrs["tstart"] == 100.5
    assert "timezero" not in ds.attrs


def test_wrong_unit_is_named(tmp_path):
    fits.BinTableHDU.from_columns(
        [fits.Column("TIME", "D", unit="m", array=[1.0])], name="EVENTS"
    ).writeto(tmp_path / "units.evt")  # fmt: skip
    with pytest.raises(batx.errors.UnitsError, match="TIME has unit 'm'"):
        batx.open_dataset(tmp_path / "units.evt")


# --- what cannot be read


def _truncated(path, event_file):
    path.write_bytes(event_file.read_bytes()[:100_000])


def _no_end(path, event_file):
    path.write_bytes(event_file.read_bytes()[:2880] + b"XTENSION= 'BINTABLE'")


def _corrupt_gzip(path, event_file):
    data = bytearray(gzip.compress(event_file.read_bytes()))
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff" * 40
    path.write_bytes(data)


def _short_gzip(path, event_file):
    path.write_bytes(gzip.compress(event_file.read_bytes())[:-500])


def _text_file(path, event_file):
    path.write_text("time,counts\n1,2\n")


def _empty(path, event_file):
    path.write_bytes(b"")


def _gzip_of_text(path, event_file):
    path.write_bytes(gzip.compress(b"not FITS"))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_truncated, "cut short"),
        (_no_end, "END"),
        (_corrupt_gzip, "gzip"),
        (_short_gzip, "gzip"),
        (_text_file, "not FITS"),
        (_empty, "empty"),
        (_gzip_of_text, "not FITS"),
    ],
)
def test_unreadable_files(tmp_path, event_file, make, says):
    path = tmp_path / "bad.fits"
    make(path, event_file)
    with pytest.raises(FileFormatError, match=says):
        batx.open_dataset(path)
    with pytest.raises(FileFormatError, match=says):
        batx.open_datatree(path)


def test_absent_file_and_directory(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        batx.open_dataset(tmp_path / "nothing.fits")
    with pytest.raises(FileNotFoundError):
        xr.open_dataset(tmp_path / "nothing.fits", engine="batx")
    with pytest.raises(FileFormatError, match="open_observation"):
        batx.open_dataset(tmp_path)
    with pytest.raises(FileFormatError, match="BytesIO"):
        xr.open_dataset(__import__("io").BytesIO(b"SIMPLE"), engine="batx")


def test_no_data_and_no_such_hdu(tmp_path, event_file):
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(FileFormatError, match="no HDU with data"):
        batx.open_dataset(tmp_path / "empty.fits")
    for hdu in (7, "NOTHING"):
        with pytest.raises(FileFormatError, match=r"1: EVENTS \(events\), 2: STDGTI \(gti\)"):
            batx.open_dataset(event_file, hdu=hdu)
    assert batx.open_dataset(event_file, hdu="stdgti").bat.kind == "gti"
    assert "energy" not in batx.open_dataset(event_file, drop_variables=["energy"])


@pytest.mark.parametrize(
    ("card", "instead"),
    [
        (b"TFORM1  = 'D       '", b"TFORM1  = 'Z       '"),
        (b"TFORM1  = 'D       '", b"TFORM1  = '99D     '"),
        (b"NAXIS1  =                   15", b"NAXIS1  =                   -5"),
        (b"PCOUNT  =                    0", b"PCOUNT  = 'nothing'           "),
        (b"TFIELDS =                    4", b"TFIELDS = 'four'              "),
    ],
)
def test_malformed_headers(event_file, tmp_path, card, instead):
    data = event_file.read_bytes()
    assert card in data
    path = tmp_path / "malformed.fits"
    path.write_bytes(data.replace(card, instead, 1))
    with pytest.raises(BatxError):
        batx.open_dataset(path)


def test_malformed_card_counts_as_absent(event_file, tmp_path):
    data = event_file.read_bytes()
    path = tmp_path / "malformed.fits"
    path.write_bytes(data.replace(b"TELESCOP= 'SWIFT   '", b"TELESCOP= SWIFT     "))
    ds = batx.open_dataset(path)
    assert "telescope" not in ds.attrs
    assert ds.sizes["event"] == 10_000


def test_absent_column(mixture):
    with pytest.raises(MissingVariableError, match="expected RATE"):
        read_hdus(mixture)[1].column("rate")
