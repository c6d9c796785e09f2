"""Networks that are no file of networks/: torchvision's classifiers, and factories in files of a user's own.

`torchvision:NAME` is any classifier of torchvision. `path/to/file.py:factory` names a function of one's own:

    factory(classes, shape)     the number of classes and the images' shape (channels, height, width) in; out comes a
                                torch.nn.Module: float32 [n, *shape] to logits [n, classes]

It draws its weights from torch's generator, which is seeded before each call. It may return more than the module:

    return network, loss            loss(logits, labels) is each image's loss, [n], instead of the cross-entropy
    return network, loss, inputs    inputs(images) is what the network reads instead of images, one row an image, such
                                    as tokens; it is called before the clock. The loss may be None.

A file is looked for as the sheets are: where the run is started, then beside the workflow. Nothing here runs it but
`load`, which only a timing job calls; a sheet is checked, and the file hashed, by reading alone.
"""

import ast
import hashlib
import importlib.util
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path

from epochbench.errors import BenchmarkError

TORCHVISION = "torchvision:"
PATTERN = r"^(torchvision:[a-z][a-z0-9_]{0,60}|[^\x00-\x1f\x7f<>|:]{1,300}\.py:[A-Za-z_][A-Za-z0-9_]{0,60})$"
FORMS = "torchvision:NAME, path/to/file.py:factory"
# Above workflow/.
HOME = Path(__file__).parents[3]
# Where a storage carries files, the user's own travel here, each in a folder named after its path.
CARRIED = Path("results/networks")
# Other names of the number of pixels, of networks that are made for one size of image.
SIZES = {"vit_": "image_size", "maxvit_": "input_size"}
# Made without the classifiers that train beside the last one, of whose loss only their papers speak.
WITH_AUXILIARIES = {"googlenet", "inception_v3"}


def is_foreign(name: str) -> bool:
    """Tell whether a model's name is one of torchvision's or a file's, rather than a file of networks/."""
    return ":" in name


def is_file(name: str) -> bool:
    """Tell whether a model's name is that of a user's file and its factory."""
    return is_foreign(name) and not name.startswith(TORCHVISION)


def split(name: str) -> tuple[str, str]:
    """Return the path and the factory of `path/to/file.py:factory`."""
    path, _, factory = name.rpartition(":")
    return path, factory


def without_folder(name: str) -> str:
    """Return a model's name without the folder of a user's file."""
    return Path(name).name if is_file(name) else name


def carried(path: str) -> Path:
    """Return the folder in which a file and what it imports travel to a job."""
    return CARRIED / hashlib.sha256(path.encode()).hexdigest()[:16]


def located(name: str) -> Path:
    """Return where a user's file lies. Raises BenchmarkError where there is none."""
    path = split(name)[0]
    found = _found(path)
    if found:
        return found
    raise BenchmarkError(f"model '{name}': there is no file '{path}', neither here nor in {HOME}")


def _found(path: str) -> Path | None:
    try:
        places = (Path(path).expanduser(), HOME / path, carried(path) / Path(path).name)
        return next((place.resolve() for place in places if place.is_file()), None)
    except (OSError, RuntimeError):  # too long for a name, or nobody's home
        return None


def is_here(name: str) -> bool:
    """Tell whether what a model names can be read here; a job's own Snakemake starts before a storage brings files."""
    return not is_file(name) or _found(split(name)[0]) is not None


def pack(names: list[str], archive: str | Path) -> None:
    """Write the users' files that some models name, and what they import, into one file, for a storage to carry."""
    files = {
        Path(carried(split(name)[0]).name) / file.relative_to(located(name).parent): file
        for name in names
        for file in sources(name)
    }
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for member, file in files.items():
            packed.write(file, member)


def unpack(archive: str | Path | None) -> None:
    """Lay such files where `located` looks for them; where no storage carries any, there is nothing to do."""
    if archive is not None:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(CARRIED)


def sources(name: str) -> list[Path]:
    """Return a user's file and every file beside it that it imports, directly or through others; none of torchvision's.

    Raises BenchmarkError where there is no such file, or where one is no Python.
    """
    if not is_file(name):
        return []
    first = located(name)
    reached, waiting = set(), {first}
    while waiting:
        path = waiting.pop()
        reached.add(path)
        waiting |= _imported(path, first.parent) - reached
    return sorted(reached)


def contents(name: str) -> list[tuple[str, bytes]]:
    """Return what decides such a network: its files, or torchvision's version; each with a name."""
    if not is_file(name):
        return [(name, torchvision_version().encode())]
    folder = located(name).parent
    files = [(str(path.relative_to(folder)), path.read_bytes()) for path in sources(name)]
    return [(split(name)[1], b""), *files]


def torchvision_version() -> str:
    """Return torchvision's version without importing it."""
    try:
        return metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        return "unknown"


def check(name: str) -> None:
    """Raise BenchmarkError where reading alone shows that there is no such network."""
    if is_file(name):
        factory, defined = split(name)[1], _defined(located(name))
        sources(name)
        if defined is not None and factory not in defined:
            there = ", ".join(sorted(defined)) or "nothing"
            raise BenchmarkError(f"model '{name}': {split(name)[0]} defines no '{factory}'; it defines {there}")
        return
    known = _classifiers()
    if known and name.removeprefix(TORCHVISION) not in known:
        raise BenchmarkError(f"model '{name}': torchvision {torchvision_version()} has no such classifier")


@cache
def load(name: str) -> Callable:
    """Import torchvision, or run a user's file, and return the factory: classes and shape in, what it makes out.

    A file finds those beside it, after all that is installed. Raises whatever the file raises.
    """
    if not is_file(name):
        return _of_torchvision(name.removeprefix(TORCHVISION))
    path, factory = located(name), split(name)[1]
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    # Under a name that no other module has; pickling and dataclasses look for it there.
    spec = importlib.util.spec_from_file_location(f"model_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, factory)


def _of_torchvision(name: str) -> Callable:
    from torchvision import models

    def factory(classes: int, shape: tuple[int, int, int]):
        sizes = {option: _size(option, shape) for start, option in SIZES.items() if name.startswith(start)}
        alone = {"aux_logits": False, "init_weights": True} if name in WITH_AUXILIARIES else {}
        return models.get_model(name, weights=None, num_classes=classes, **sizes, **alone)

    return factory


def _size(option: str, shape: tuple[int, int, int]) -> int | tuple[int, int]:
    return shape[1] if option == "image_size" else (shape[1], shape[2])


@cache
def _classifiers() -> frozenset[str]:
    """Return the names of torchvision's classifiers, read from its files; none where it is not installed here."""
    spec = importlib.util.find_spec("torchvision")
    places = spec.submodule_search_locations if spec else []
    files = [file for place in places for file in Path(place, "models").glob("[a-z]*.py")]
    functions = [node for file in files for node in parsed(file, file.name).body if isinstance(node, ast.FunctionDef)]
    return frozenset(
        each.name for each in functions if any("register_model" in ast.dump(d) for d in each.decorator_list)
    )


def parsed(path: Path, named: str) -> ast.Module:
    """Return a file's syntax tree. Raises BenchmarkError, which calls the file `named`, where it is no Python."""
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        line = f"line {error.lineno}: {error.msg}" if getattr(error, "lineno", None) else error
        raise BenchmarkError(f"{named}: not readable as Python ({line})") from error


def _defined(path: Path) -> set[str] | None:
    """Return the names that a file defines at its top level, None where only running it would tell."""
    names = set()
    for node in parsed(path, path.name).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                return None
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
        elif not isinstance(node, ast.Expr):
            return None
    return names


def _imported(path: Path, folder: Path) -> set[Path]:
    """Return the files beside a user's that one of them imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(parsed(path, path.name)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module] if node.module else [alias.name for alias in node.names]
        else:
            continue
        for name in {module.split(".")[0] for module in modules}:
            found |= {folder / f"{name}.py", *(folder / name).rglob("*.py")}
    return {file for file in found if file.is_file()}
