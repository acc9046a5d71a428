"""The expectation model in LightGBM, and the bundle in which it travels. The only file that knows LightGBM.

A bundle is a folder `<bundle_id>/{model.txt, bundle.json}`. LightGBM's text loader is no safe parser: most damaged files
kill the process and a few load and score wrongly (notes/security.md). So the digests are checked first, then the
verified bytes are loaded in a throw-away process and must reproduce the golden scores, and only then here.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
import numpy.typing as npt
import polars as pl
from lightgbm import Booster

from detector.features import FEATURES
from detector.likelihood import Cells, Dispersion, Floats, expected_count, gradient_hessian
from ingest.release import canonical_json

# notes/detection.md, 4.2. No row bagging below 0.7 and few bins: the noise, not the detail, limits what can be learned.
PARAMS: Final[Mapping[str, Any]] = {
    "learning_rate": 0.08,
    "num_leaves": 31,
    "min_data_in_leaf": 150,
    "min_sum_hessian_in_leaf": 5.0,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_bin": 63,
    "boost_from_average": False,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
ROUNDS: Final = 160
GOLDEN_ROWS: Final = 32
GOLDEN_TOLERANCE: Final = 1e-9
MAX_MODEL_BYTES: Final = 64 << 20
MAX_DOCUMENT_BYTES: Final = 4 << 20
FORMAT: Final = 2


class BundleError(Exception):
    """A bundle that must not be served; says which check refused it, never what was found."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A trained expectation with everything needed to serve it and to know where it came from."""

    document: Mapping[str, Any]  # bundle.json
    model_text: str = field(repr=False)
    booster: Booster = field(repr=False, compare=False)
    triage_text: str | None = field(default=None, repr=False)
    triage: Booster | None = field(default=None, repr=False, compare=False)  # the second model, where there is one

    @property
    def model_version(self) -> str:
        """`m-` and twelve hex digits of the bundle's digest."""
        return str(self.document["model_version"])

    @property
    def dispersion(self) -> Dispersion:
        """The spread of counts around this model's expectation."""
        return Dispersion(**self.document["dispersion"])

    @property
    def expectation(self) -> Mapping[str, Any]:
        """What stands before the trees and around them: reaction, uncertainty, memory (detector/expectation.py)."""
        expectation: Mapping[str, Any] = self.document["expectation"]
        return expectation

    @property
    def shares(self) -> tuple[float, ...]:
        """The carriers' shares of all movements that this model was trained with, by name."""
        return tuple(self.document["carrier_shares"])

    @property
    def calibration(self) -> Mapping[str, Any]:
        """The probability bands found on held-out hours (detector/calibrate.py)."""
        calibration: Mapping[str, Any] = self.document["calibration"]
        return calibration


def train_booster(
    table: pl.DataFrame, cells: Cells, dispersion: Dispersion, *, seed: int, rounds: int = ROUNDS
) -> Booster:
    """The trees that correct the offset `level`, learned from rows with FEATURES.

    The objective is the censored, noise-aware likelihood, its variance worked out anew in each round.
    """
    matrix, offset = _matrix(table), _offset(table)

    def objective(raw: Floats, _: lightgbm.Dataset) -> tuple[Floats, Floats]:
        return gradient_hessian(raw, cells, cells.variance(expected_count(raw), dispersion))

    dataset = lightgbm.Dataset(
        matrix,
        label=np.zeros(table.height),  # the objective reads the cells instead: a null has no label
        init_score=offset,
        feature_name=list(FEATURES),
        params={"max_bin": PARAMS["max_bin"], "verbosity": -1, "num_threads": 1},
    )
    return lightgbm.train({**PARAMS, "objective": objective, "seed": seed}, dataset, num_boost_round=rounds)


def predict(booster: Booster, table: pl.DataFrame) -> Floats:
    """The expected count of every row of a table with FEATURES and `level`."""
    return expected_count(_raw_scores(booster, _matrix(table)) + _offset(table))


def contributions(booster: Booster, table: pl.DataFrame) -> dict[str, Floats]:
    """What each feature adds to the log of the expected count, per row, over the offset."""
    matrix = np.asarray(booster.predict(_matrix(table), pred_contrib=True, num_threads=1))
    return {name: matrix[:, column] for column, name in enumerate(FEATURES)}


# notes/detection.md, 4.2.
RANKER_PARAMS: Final[Mapping[str, Any]] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.4,
    "lambda_l2": 20.0,
    "max_bin": 63,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
RANKER_ROUNDS: Final = 250


def train_ranker(
    matrix: npt.NDArray[Any],
    labels: Floats,
    names: Sequence[str],
    monotone: Sequence[int],
    *,
    seed: int,
    rounds: int = RANKER_ROUNDS,
) -> Booster:
    """Trees that tell rows labelled 1 from those labelled 0; both labels weigh the same in all.

    `monotone` says of each column whether a larger value may only raise the score (1), only lower it (-1), or either (0).
    """
    ones = max(float(labels.sum()), 1.0)
    weight = np.where(labels > 0, 1.0, ones / max(labels.size - ones, 1.0))
    dataset = lightgbm.Dataset(
        matrix,
        label=labels,
        weight=weight,
        feature_name=list(names),
        params={"max_bin": RANKER_PARAMS["max_bin"], "verbosity": -1, "num_threads": 1},
    )
    params = {**RANKER_PARAMS, "monotone_constraints": list(monotone), "seed": seed}
    return lightgbm.train(params, dataset, num_boost_round=rounds)


def raw_scores(booster: Booster, matrix: npt.NDArray[Any]) -> Floats:
    """What the trees say of every row of a matrix, before any link."""
    return _raw_scores(booster, matrix)


def seal_bundle(
    booster: Booster,
    golden: pl.DataFrame,
    *,
    expectation: Mapping[str, Any],
    triage: tuple[Booster, Sequence[str], npt.NDArray[np.float32]] | None = None,
    dispersion: Dispersion,
    shares: Sequence[float],
    calibration: Mapping[str, Any],
    metrics: Mapping[str, Any],
    training_window: Mapping[str, str],
    seed: int,
) -> Bundle:
    """The bundle of a trained booster; its version is the digest of all that it says, the trees included.

    `expectation`: the documents of its reaction, uncertainty and memory.
    `triage`: the second model, the names of its columns, and rows for its golden scores.
    """
    text = booster.model_to_string()
    inputs = _matrix(golden.head(GOLDEN_ROWS))
    content = {
        "format": FORMAT,
        "features": list(FEATURES),
        "training_window": dict(training_window),
        "seed": seed,
        "params": dict(PARAMS),
        "rounds": booster.num_trees(),
        "carrier_shares": list(shares),
        "dispersion": {"phi": dispersion.phi, "kappa": dispersion.kappa},
        "expectation": dict(expectation),
        "calibration": dict(calibration),
        "metrics": dict(metrics),
        "golden": _golden(booster, inputs),
        "triage": _triage_part(*triage) if triage else None,
        "versions": {
            "lightgbm": lightgbm.__version__,
            "numpy": np.__version__,
            "polars": pl.__version__,
            "python": platform.python_version(),
        },
        "model_digest": _digest(text.encode()),
    }
    digest = _digest(canonical_json(content))
    version = "m-" + digest.removeprefix("sha256:")[:12]
    document = {**content, "digest": digest, "model_version": version, "bundle_id": version}
    if triage is None:
        return Bundle(document, text, Booster(model_str=text))
    triage_text = triage[0].model_to_string()
    return Bundle(document, text, Booster(model_str=text), triage_text, Booster(model_str=triage_text))


def _golden(booster: Booster, inputs: npt.NDArray[Any]) -> dict[str, Any]:
    return {
        "inputs": [[None if np.isnan(x) else float(x) for x in row] for row in inputs],
        "scores": _raw_scores(booster, inputs).tolist(),
    }


def _triage_part(booster: Booster, names: Sequence[str], golden: npt.NDArray[np.float32]) -> dict[str, Any]:
    return {
        "features": list(names),
        "params": dict(RANKER_PARAMS),
        "rounds": booster.num_trees(),
        "golden": _golden(booster, golden[:GOLDEN_ROWS]),
        "model_digest": _digest(booster.model_to_string().encode()),
    }


def save_bundle(bundle: Bundle, models: Path) -> Path:
    """Write the bundle under the folder of models; the answer is its own folder. An equal bundle is left as it is."""
    folder = models / str(bundle.document["bundle_id"])
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"model.txt": bundle.model_text, "triage.txt": bundle.triage_text}
    files = {name: text.encode() for name, text in texts.items() if text is not None}
    for name, content in {**files, "bundle.json": canonical_json(bundle.document)}.items():
        half = folder / f".{name}.{os.getpid()}"
        half.write_bytes(content)
        half.replace(folder / name)
    return folder


def load_bundle(folder: Path, *, digest: str | None = None, timeout_s: float = 120.0) -> Bundle:
    """The bundle of a folder, safe to serve; raises BundleError else.

    `digest`, where the caller keeps it elsewhere, pins the very bundle: without it a bundle is only proved whole, not
    to be the one that was approved. The bytes that were verified are the bytes that are loaded; nothing is read twice.
    """
    document, text, triage_text = _verified(folder, digest)
    booster = _proved(text, document["golden"], timeout_s)
    if triage_text is None:
        return Bundle(document, text, booster)
    return Bundle(document, text, booster, triage_text, _proved(triage_text, document["triage"]["golden"], timeout_s))


def _proved(text: str, golden: Mapping[str, Any], timeout_s: float) -> Booster:
    _compare(_probe(text, golden["inputs"], timeout_s), golden["scores"], "in the throw-away process")
    booster = load_in_process(text)
    _compare(_raw_scores(booster, _golden_matrix(golden["inputs"])).tolist(), golden["scores"], "in this process")
    return booster


def load_in_process(model_text: str) -> Booster:
    """LightGBM's own loader. Only ever called with bytes that passed the digests and the throw-away process."""
    return Booster(model_str=model_text)


def _verified(folder: Path, pinned: str | None) -> tuple[dict[str, Any], str, str | None]:
    raw = _read(folder / "bundle.json", MAX_DOCUMENT_BYTES)
    try:
        document = json.loads(raw)
        content = {key: document[key] for key in document if key not in ("digest", "model_version", "bundle_id")}
        found = _digest(canonical_json(content))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError("bundle.json is not the JSON object of a bundle") from error
    version = "m-" + found.removeprefix("sha256:")[:12]
    named = (document.get("digest"), document.get("model_version"), document.get("bundle_id"))
    if named != (found, version, version):
        raise BundleError("the digest of bundle.json is not that of its content")
    if canonical_json(document) != raw:
        raise BundleError("bundle.json is not written as bundles are")  # two texts may say one number
    if pinned is not None and pinned != found:
        raise BundleError("the bundle is not the one that was asked for")
    if document.get("format") != FORMAT or document.get("features") != list(FEATURES):
        raise BundleError("the bundle was made for other features")
    model = _trees(folder / "model.txt", document.get("model_digest"))
    triage = document.get("triage")
    return document, model, None if triage is None else _trees(folder / "triage.txt", triage["model_digest"])


def _trees(path: Path, digest: str | None) -> str:
    content = _read(path, MAX_MODEL_BYTES)
    if digest != _digest(content):
        raise BundleError(f"the digest of {path.name} is not the one in bundle.json")
    return content.decode()


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise BundleError(f"{path.name} cannot be read") from error
    if len(content) > limit:
        raise BundleError(f"{path.name} is larger than a bundle may be")
    return content


# Self-contained, so that the child needs nothing of ours; limits first, because the parser may run wild.
_PROBE: Final = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (90, 90))
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import lightgbm, numpy
asked = json.load(sys.stdin)
booster = lightgbm.Booster(model_str=asked["model"])
rows = numpy.array(asked["inputs"], dtype=float)
print("\\n" + json.dumps(booster.predict(rows, raw_score=True, num_threads=1).tolist()))
"""
_CHILD_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR")


def _probe(model_text: str, inputs: Sequence[Sequence[float | None]], timeout_s: float) -> list[float]:
    """The scores that a throw-away process gives; it may die or hang, and inherits no secrets."""
    environment = {name: os.environ[name] for name in _CHILD_ENVIRONMENT if name in os.environ}
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE],
            input=json.dumps({"model": model_text, "inputs": inputs}).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "OMP_NUM_THREADS": "1"},
            timeout=timeout_s,
            check=True,
        )
        scores: list[float] = json.loads(child.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise BundleError("the throw-away process hung") from error
    except subprocess.CalledProcessError as error:
        raise BundleError("the throw-away process died") from error
    except (ValueError, IndexError) as error:
        raise BundleError("the throw-away process gave no scores") from error
    return scores


def _compare(scores: Sequence[float], golden: Sequence[float], where: str) -> None:
    if len(scores) != len(golden) or not golden or not np.allclose(scores, golden, rtol=0, atol=GOLDEN_TOLERANCE):
        raise BundleError(f"the golden scores do not come out {where}")


def _golden_matrix(inputs: Sequence[Sequence[float | None]]) -> npt.NDArray[np.float64]:
    return np.array(inputs, dtype=float)


def _raw_scores(booster: Booster, matrix: npt.NDArray[Any]) -> Floats:
    return np.asarray(booster.predict(matrix, raw_score=True, num_threads=1), dtype=float)


def _matrix(table: pl.DataFrame) -> npt.NDArray[np.float32]:
    return table.select(pl.col(name).cast(pl.Float32) for name in FEATURES).to_numpy(order="c")


def _offset(table: pl.DataFrame) -> Floats:
    return np.asarray(np.log(table["level"].to_numpy()))


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
