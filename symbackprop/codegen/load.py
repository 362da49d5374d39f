"""Run generated source: it is saved in a real file first, so that tracebacks and debuggers show it.

Compiled code is kept in a folder of the user's, so that a second process finds it: `SYMBACKPROP_CACHE_DIR`, or the system's usual place.
"""

import atexit
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from functools import lru_cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType


@lru_cache(maxsize=1)
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="symbackprop_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def cache_folder() -> Path:
    """The folder of compiled code. It is made if need be; where that cannot be, a folder that lives as long as the process."""
    chosen = os.environ.get("SYMBACKPROP_CACHE_DIR")
    if chosen:
        folder = Path(chosen)
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", Path.home())) / "symbackprop" / "cache"
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches" / "symbackprop"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "symbackprop"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _folder()
    return folder if os.access(folder, os.W_OK) else _folder()


@lru_cache(maxsize=64)
def load_source(source: str, title: str) -> ModuleType:
    """Import generated source as a module. Its file, `module.__file__`, lives as long as the process."""
    path = _folder() / f"{title}_{load_source.cache_info().misses}.py"
    path.write_text(source, encoding="utf-8")
    return _load(path)


@lru_cache(maxsize=64)
def load_cached(source: str, title: str) -> ModuleType:
    """Import generated source from a file that stays: its name is a digest of the source, and what compilers keep lies beside it."""
    path = cache_folder() / f"{title}_{hashlib.sha256(source.encode()).hexdigest()[:16]}.py"
    if not path.exists() or path.read_bytes() != source.encode():
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            file.write(source.encode())
        os.replace(file.name, path)  # another process sees the whole file or none
    return _load(path, listed=True)


class _Loader(SourceFileLoader):
    """Reads the source alone, and keeps no file .pyc, which might be broken."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _load(path: Path, listed: bool = False) -> ModuleType:
    """`listed`: under its name in `sys.modules`, where compilers look for the module of a function."""
    loader = _Loader(path.stem, str(path))
    spec = importlib.util.spec_from_file_location(path.stem, path, loader=loader)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if listed:
        sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module
