"""Run generated source: it is saved in a real file first, so that tracebacks and debuggers show it."""

import atexit
import importlib.util
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from types import ModuleType


@lru_cache(maxsize=1)
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="symbackprop_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@lru_cache(maxsize=64)
def load_source(source: str, title: str) -> ModuleType:
    """Import generated source as a module. Its file, `module.__file__`, lives as long as the process."""
    path = _folder() / f"{title}_{load_source.cache_info().misses}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
