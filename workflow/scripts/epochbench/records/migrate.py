"""Records of earlier versions, brought to this one."""

import contextlib
from pathlib import Path

from epochbench.errors import BenchmarkError
from epochbench.timing.cell import COLUMNS, with_defaults
from epochbench.timing.record import SCHEMA_VERSION, document_checksum

# Until version 2 every data set had CIFAR-10's layout.
FORMER_IMAGES = {"image_shape": [3, 32, 32], "classes": 10}


def migrate(document: object, path: str | Path) -> object:
    """Bring an older record to this version: what it did not measure is null, and its checksum is made anew if right.

    A column that came later has its default. Raises BenchmarkError for what was made by a newer version.
    """
    if not isinstance(document, dict):
        return document
    version = document.get("schema_version")
    if type(version) is not int or version < 1:  # true would be 1
        return document
    _refuse_newer(document, path)
    migrated = document
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # what is missing, the validation names
        for step in STEPS[version - 1 :]:
            migrated = step(migrated)
        migrated = migrated | {"cell": with_defaults(migrated["cell"])}
    if migrated == document or document.get("checksum") != document_checksum(document):
        return migrated
    return migrated | {"checksum": document_checksum(migrated)}


def _refuse_newer(document: dict, path: str | Path) -> None:
    version, cell = document["schema_version"], document.get("cell")
    if version > SCHEMA_VERSION:
        raise BenchmarkError(
            f"{path}: schema_version {version} is newer than this code (version {SCHEMA_VERSION}); update epochbench"
        )
    unknown = [name for name in cell if name not in COLUMNS] if isinstance(cell, dict) else []
    if unknown:
        raise BenchmarkError(f"{path}: made by a version that has column '{unknown[0][:80]}'; update epochbench")


def _from_version_1(old: dict) -> dict:
    unknown = {"gpu_energy_joules": None, "cpu_energy_joules": None, "flags": {}}
    untimed = dict.fromkeys(("evaluation_seconds", "check_seconds", "calibration_seconds"))
    gone = ("flop_per_epoch", "peak_flop_per_second")
    return old | {
        "schema_version": 2,
        "machine": old["machine"] | {"threads_per_core": None},
        "conditions": old["conditions"] | unknown,
        "timing": old["timing"] | untimed,
        "evidence": {key: value for key, value in old["evidence"].items() if key not in gone},
        "peaks": None,
        "limit": None,
    }


def _from_version_2(old: dict) -> dict:
    return old | {
        "schema_version": 3,
        "dataset": old["dataset"] | FORMER_IMAGES,
        "evidence": old["evidence"] | {"between_seconds": None},
    }


def _from_version_3(old: dict) -> dict:
    limit = old["limit"]
    unseen = dict.fromkeys(("train_images_evaluated", "train_loss", "train_accuracy"))
    return old | {
        "schema_version": 4,
        "protocol": old["protocol"] | {"rate_scaling": "none", "tries": 1, "quiet_seconds": 0.0},
        "training": old["training"] | {"learning_rate": old["protocol"]["learning_rate"]},
        "conditions": old["conditions"] | {"gpu_watch": None},
        "evidence": old["evidence"] | unseen | {"first_steps": []},
        "limit": None if limit is None else _limit_from_version_3(limit),
        "stack": None,
        "first_runs": None,
        "tries": [],
    }


def _limit_from_version_3(old: dict) -> dict:
    """Floors were called so, the bound of the fused work and the estimate operator by operator alike."""
    names = {
        "operator_floor_seconds": "operator_estimate_seconds",
        "fused_floor_seconds": "fused_bound_seconds",
    }
    renamed = {names.get(key, key): value for key, value in old.items()}
    return renamed | {"launches_per_epoch": None, "operators": []}


def _from_version_4(old: dict) -> dict:
    later = {"optimizer": "sgd", "weight_decay": 0.0, "fused": "auto", "until_accuracy": 0.0, "until_epochs": 100}
    later["residency"] = "device"
    return old | {"schema_version": 5, "protocol": old["protocol"] | later, "until_accuracy": None, "network": None}


def _from_version_5(old: dict) -> dict:
    return old | {"schema_version": 6, "evidence": old["evidence"] | {"first_epoch": None, "late_seconds": None}}


def _from_version_6(old: dict) -> dict:
    epoch, untold = old["evidence"]["first_epoch"], {"late_shares": [], "expected_late_deviations": []}
    evidence = old["evidence"] | {"first_epoch": epoch and epoch | untold | {"compared_losses": epoch["steps"]}}
    return old | {"schema_version": 7, "evidence": evidence}


# From version 1 to 2, from 2 to 3, and so on.
STEPS = (_from_version_1, _from_version_2, _from_version_3, _from_version_4, _from_version_5, _from_version_6)
