"""The networks: one file each, found by its name.

A file has a function `build(shape, classes, layers, memory_format)` that returns an nn.Module: images float32
[n, *shape] to logits [n, classes]. Whatever `layers` and `memory_format` say, its weights, their order and, but for
rounding, every result are the same. Two constants say which of them it has, the published way first; they are read
without running the file, so that a sheet can be checked where there is no torch. Without them it has these:

    LAYERS = ("published",)
    MEMORY_FORMATS = ("contiguous",)

A network with layers `fused` has a whole training step written by hand, and with it images kept in the memory format
`blocks`. Its file then has two more functions:

    to_blocks(images)       images, float32 [n, *shape], as the step reads them
    fused_step(network, rate, momentum, batch_size)
                            an object with `step(blocks, labels)`, which updates the network's own parameters by plain
                            SGD and returns the mean loss, `tensors()`, all that a step leaves for the next, and
                            `start_over()`, which takes up changed parameters with no momentum

A file whose name begins with an underscore is no network; it holds what several of them share. Networks that are no
file here, torchvision's and those in files of a user's own, are told of in foreign.py.
"""

import ast
import importlib
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType, SimpleNamespace

from epochbench import foreign
from epochbench.errors import BenchmarkError
from epochbench.files import digest_of
from epochbench.foreign import is_file, is_foreign

FOLDER = Path(__file__).parent
DEFAULT_WAYS = {"LAYERS": ("published",), "MEMORY_FORMATS": ("contiguous",)}
# Of any network of torch's own modules, whoever wrote it.
WAYS_OF_FOREIGN = DEFAULT_WAYS | {"MEMORY_FORMATS": ("contiguous", "channels_last")}


def names() -> tuple[str, ...]:
    """Return the names of all networks: those of the files in this folder."""
    return tuple(sorted(path.stem for path in FOLDER.glob("[a-z]*.py")))


def load(name: str) -> ModuleType | SimpleNamespace:
    """Import a network's file, which imports torch, and return what has its `build`."""
    return _build_foreign(name) if is_foreign(name) else importlib.import_module(f"{__name__}.{name}")


@cache
def _build_foreign(name: str) -> SimpleNamespace:
    factory = foreign.load(name)
    return SimpleNamespace(build=lambda shape, classes, layers, memory_format: factory(classes, shape), factory=factory)


def contents(name: str) -> list[tuple[str, bytes]]:
    """Return the files that decide a network, each with its name, or torchvision's version."""
    if is_foreign(name):
        return foreign.contents(name)
    return [(str(path.relative_to(FOLDER.parent)), path.read_bytes()) for path in sources(name)]


def described(name: str) -> str:
    """Return where a network comes from: its files, each with its SHA-256, or torchvision's version."""
    if is_foreign(name) and not is_file(name):
        return f"torchvision {foreign.torchvision_version()}"
    path = foreign.split(name)[0] if is_file(name) else f"networks/{name}.py"
    files = sorted(sources(name), key=lambda file: file.name != Path(path).name)
    digests = [f"{Path(path).parent / file.name}: SHA-256 {digest_of(file, 'sha256')}" for file in files]
    return "; ".join(digests)[:500]


def defined_at(name: str) -> str:
    """Return the file and line at which the factory of a user's own network is defined, as far as reading tells."""
    path, factory = foreign.split(name)
    tree = foreign.parsed(foreign.located(name), path)
    lines = [node.lineno for node in tree.body if getattr(node, "name", None) == factory]
    return f"{path}, line {lines[0]}" if lines else path


def sources(name: str) -> list[Path]:
    """Return the file of a network, and every file of its folder that it imports, directly or through others."""
    if is_foreign(name):
        return foreign.sources(name)
    reached, waiting = set(), {FOLDER / f"{name}.py"}
    while waiting:
        path = waiting.pop()
        reached.add(path)
        waiting |= _imported(path) - reached
    return sorted(reached)


@cache
def declared(name: str) -> dict[str, tuple[str, ...]]:
    """Return a network's constants LAYERS and MEMORY_FORMATS without running its file.

    Raises BenchmarkError where there is no such file, where it is no Python, or where a constant is no tuple of words.
    """
    if is_foreign(name):
        foreign.check(name)
        return WAYS_OF_FOREIGN
    constants = {}
    for statement in foreign.parsed(FOLDER / f"{name}.py", f"networks/{name}.py").body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            constants |= {target.id: statement.value for target in targets if isinstance(target, ast.Name)}
    return {key: _words(name, key, constants[key]) if key in constants else DEFAULT_WAYS[key] for key in DEFAULT_WAYS}


def declared_by_any(constant: str) -> tuple[str, ...]:
    """Return what any network declares under LAYERS or MEMORY_FORMATS.

    A broken file is left out; it is told of where its own network is asked for.
    """
    ways = list(DEFAULT_WAYS[constant])
    for name in names():
        try:
            ways += declared(name)[constant]
        except BenchmarkError:
            continue
    return tuple(dict.fromkeys(ways))


def _words(name: str, key: str, value: ast.expr | None) -> tuple[str, ...]:
    try:
        words = ast.literal_eval(value)
    except (ValueError, TypeError):
        words = None
    if not isinstance(words, tuple) or not words or not all(isinstance(word, str) for word in words):
        example = ", ".join(f'"{word}"' for word in DEFAULT_WAYS[key])
        raise BenchmarkError(f"networks/{name}.py: {key} must be a tuple of words, such as ({example},)")
    return words


def _imported(path: Path) -> set[Path]:
    """Return the files of this folder that one of them imports, wherever in it the import stands."""
    package = ".".join((__name__, *path.relative_to(FOLDER).parent.parts))
    modules = set()
    for node in ast.walk(foreign.parsed(path, f"networks/{path.name}")):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            modules |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    inner = {module.removeprefix(f"{__name__}.").split(".")[0] for module in modules if module.startswith(__name__)}
    files = (file for name in inner for file in (FOLDER / f"{name}.py", *(FOLDER / name).rglob("*.py")))
    return {file for file in files if file.is_file()}
