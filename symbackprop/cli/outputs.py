"""Where a command may write: to a path that is one, in a folder that is there, and never over what it reads."""

import os
import stat
import sys
from pathlib import Path

from symbackprop.cli.errors import UsageError

SCALES = ".scales.json"  # beside a saved run: what its input columns were scaled by


def scales_beside(path: str) -> Path:
    return Path(path).with_suffix(SCALES)


def check_output(path: str | None, *inputs: str | None, scales: bool = False) -> None:
    """Refuse the argument of -o before the work begins. `scales`: whether the file of scales is written beside it."""
    if path is None:
        return
    if not path:
        raise UsageError("-o: the path is empty; expected the name of a file")
    if Path(path).is_dir():
        raise UsageError(f"-o {path}: a folder; expected the name of a file")
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"-o {path}: the folder does not exist")
    for written in [path, *([str(scales_beside(path))] if scales else [])]:
        for read in inputs:
            if read is not None and _same(written, read):
                raise UsageError(f"-o {path}: {'it' if written == path else written} is the file that the command reads; choose another name")


def _same(written: str, read: str) -> bool:
    """Whether two paths lead to one file, through links or any spelling; a device such as a terminal may well be both."""
    try:
        one = os.stat(written)
        other = os.fstat(sys.stdin.fileno()) if read == "-" else os.stat(read)
    except (OSError, ValueError):  # one of them does not exist, or the standard input is no file
        return False
    return stat.S_ISREG(one.st_mode) and os.path.samestat(one, other)
