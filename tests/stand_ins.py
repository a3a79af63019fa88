"""Stand-ins for mission tools: shell scripts with parameter files in a made-up ``$HEADAS`` or ``$SAS_DIR``.

`make_headas` makes the folder with tools that behave in every way that tools do; `add_tool` adds another one.
A script sees each parameter of its call as a shell variable of that name (a dash as an underscore), and has
`fits NAME [MARK]`, which writes a small FITS file with the eight-digit keyword MARK.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from batx.heasoft import Task

HEAD = """#!/bin/sh
for word in "$@"; do
  case "$word" in
    *=*) name=$(printf %s "${{word%%=*}}" | tr - _); eval "$name=\\${{word#*=}}" ;;
  esac
done
fits() {{ LC_ALL=C sed "s/00000000/${{2:-00000001}}/" "{template}" > "$1"; }}
"""
COMMON = """clobber,b,h,no,,,"Overwrite existing output file?"
chatter,i,h,2,0,5,"Verbosity level"
history,b,h,yes,,,"Write history block?"
mode,s,h,"ql",,,""
"""
IN_OUT = """# a tool
infile,f,a,"",,,"Input file name"
outfile,f,a,"",,,"Output file name "
mark,i,h,1,0,99999999,"A number, with a comma"
level,r,h,1.5,0,10,"A level [sigma] "
kind,s,h,"LC",LC|PHA|DPI,,"What to make"
"""
EDIT = """infile,fr,a,"",,,"File to be changed"
mark,i,h,1,0,99999999,"A number"
"""

#: name -> parameter file (without the common end) and script
TOOLS = {
    # does what it should; like the real ones, it keeps its last parameters, and reads them again
    "goodtool": (
        IN_OUT,
        """local=${PFILES%%;*}
printf 'infile,f,a,"%s",,,""\\noutfile,f,a,"%s",,,""\\nmark,i,h,%s,,,""\\n' "$infile" "$outfile" "$mark" \
> "$local/goodtool.par"
sleep 0.02
again=$(sed -n 's/^mark,i,h,\\([0-9]*\\).*/\\1/p' "$local/goodtool.par")
[ "$again" = "$mark" ] || { echo "parameters were crossed" >&2; exit 9; }
echo "goodtool 1.7: mark $mark"
cat "$infile" > /dev/null && fits "$outfile" "$(printf %08d "$mark")"
""",
    ),
    "failtool": (IN_OUT, "echo 'ERROR: no such extension' >&2; fits \"$outfile\"; exit 3\n"),
    "emptytool": (IN_OUT, "echo done; exit 0\n"),
    "hangtool": (
        IN_OUT,
        """echo "waiting for the sky"
sleep "$mark" &
setsid sh -c "sleep $mark & sleep $mark" &
sleep "$mark"
""",
    ),
    "floodtool": (
        IN_OUT,
        "echo first; yes 'a warning that comes again and again' | head -c 30000000; echo last; "
        'fits "$outfile"\n',
    ),
    "prompttool": (
        IN_OUT,
        "printf 'Really? '; if read answer; then echo \"got $answer\"; else exit 4; fi\n",
    ),
    "edittool": (
        EDIT,
        'LC_ALL=C sed "s/00000000/$(printf %08d "$mark")/" "$infile" > "$infile.new" && '
        'cat "$infile.new" > "$infile" && rm "$infile.new"; echo "File modified in place: $infile"\n',
    ),
    "halftool": (IN_OUT, 'fits "$outfile.all"; head -c 1000 "$outfile.all" > "$outfile"; kill -9 $$\n'),
    "cuttool": (IN_OUT, 'fits "$outfile.all"; head -c 4000 "$outfile.all" > "$outfile"\n'),
    "rudetool": (IN_OUT, 'fits "$outfile"; echo >> "$infile"\n'),
    "leavetool": (IN_OUT, 'fits "$outfile"; sleep "$mark" &\nexit 0\n'),
    "envtool": (IN_OUT, 'env; fits "$outfile"\n'),
    "slowtool": (IN_OUT, 'sleep "${level:-1.5}"; fits "$outfile"\n'),
    "answertool": (
        'intime,s,a,"",,,"Input time"\nouttime,s,hl,"",,,"Output time"\n',
        'printf \'intime,s,a,"%s",,,""\\nouttime,s,hl,"2021-01-02",,,""\\n\' "$intime" '
        '> "${PFILES%%;*}/answertool.par"\n',
    ),
    "foldertool": (
        'indir,f,a,"",,,"Input folder"\noutdir,f,a,"",,,"Output folder"\n',
        'mkdir -p "$outdir/sub"; for i in 1 2; do fits "$outdir/image_$i.img"; done; '
        'echo text > "$outdir/sub/note.txt"\n',
    ),
}

_FILES = {"inputs": ("infile",), "outputs": {"outfile": "fits"}}
#: name -> specification, as a caller would give it
TASKS = {name: Task(name, **_FILES) for name, (par, _) in TOOLS.items() if par is IN_OUT} | {  # type: ignore[arg-type]
    "edittool": Task("edittool", edits=("infile",)),
    "answertool": Task("answertool"),
    "foldertool": Task(
        "foldertool",
        inputs=("indir",),
        outputs={"outdir": "folder"},
        products={"images": ("outdir/*.img",)},
        absolute=True,
    ),
}


def template() -> bytes:
    """Return a small FITS file: a primary header with MARK and an image of 100 pixels."""

    def header(*cards: str) -> bytes:
        text = "".join(card.ljust(80) for card in (*cards, "END"))
        return text.ljust(-(-len(text) // 2880) * 2880).encode()

    primary = header(
        "SIMPLE  =                    T",
        "BITPIX  =                    8",
        "NAXIS   =                    0",
        "EXTEND  =                    T",
        "MARK    = '00000000'",
    )
    image = header(
        "XTENSION= 'IMAGE   '",
        "BITPIX  =                  -32",
        "NAXIS   =                    2",
        "NAXIS1  =                   10",
        "NAXIS2  =                   10",
        "PCOUNT  =                    0",
        "GCOUNT  =                    1",
    )
    return primary + image + np.arange(100, dtype=">f4").tobytes().ljust(2880, b"\0")


def mark_of(path: Path) -> int:
    """Return the number that a stand-in wrote into a file."""
    head = path.read_bytes()[:2880]
    return int(head[head.index(b"MARK    = '") + 11 :][:8])


def make_headas(folder: Path, names: tuple[str, ...] = tuple(TOOLS)) -> Path:
    """Make a ``$HEADAS`` with stand-ins."""
    headas = folder / "heasoft-6.99" / "x86_64"
    for part in ("bin", "syspfiles", "refdata"):
        (headas / part).mkdir(parents=True)
    (headas / "refdata" / "template.fits").write_bytes(template())
    for name in names:
        add_tool(headas, name, *TOOLS[name])
    return headas


def add_tool(headas: Path, name: str, par: str, script: str, *, common: bool = True) -> None:
    """Add a stand-in: its parameter file and the body of its script."""
    (headas / "syspfiles" / f"{name}.par").write_text(par + (COMMON if common else ""))
    program = headas / "bin" / name
    program.write_text(HEAD.format(template=headas / "refdata" / "template.fits") + script)
    program.chmod(0o755)


def make_sas(folder: Path) -> Path:
    """Make a ``$SAS_DIR`` without tasks."""
    sas = folder / "xmmsas_20990101_1200-99.0.0"
    for part in ("bin", "binextra", "config", "lib", "refdata"):
        (sas / part).mkdir(parents=True)
    (sas / "refdata" / "template.fits").write_bytes(template())
    return sas


def add_sas_task(sas: Path, name: str, par: str, script: str) -> None:
    """Add a stand-in of SAS: the PARAM elements of its parameter file and the body of its script."""
    (sas / "config" / f"{name}.par").write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<FILE><CONFIGFILE>{par}</CONFIGFILE></FILE>\n'
    )
    program = sas / "bin" / name
    program.write_text(HEAD.format(template=sas / "refdata" / "template.fits") + script)
    program.chmod(0o755)
