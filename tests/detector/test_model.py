"""A bundle is proved before it is served."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector import model
from detector.detect import Trained
from detector.model import BundleError, load_bundle, save_bundle
from ingest.release import canonical_json


@pytest.fixture
def folder(trained: Trained, tmp_path: Path) -> Path:
    return save_bundle(trained.bundle, tmp_path)


@pytest.fixture
def loaded_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that reaches LightGBM's loader in this process."""
    texts: list[str] = []
    real = model.load_in_process

    def record(text: str) -> Any:
        texts.append(text)
        return real(text)

    monkeypatch.setattr(model, "load_in_process", record)
    return texts


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that reaches the throw-away process."""
    texts: list[str] = []
    real = model._probe

    def record(text: str, *rest: Any) -> Any:
        texts.append(text)
        return real(text, *rest)

    monkeypatch.setattr(model, "_probe", record)
    return texts


def reseal(folder: Path, **changes: Any) -> None:
    """Write bundle.json with changes and digests that are right again: what a careless or bad hand would do."""
    document = json.loads((folder / "bundle.json").read_bytes())
    content = {k: v for k, v in document.items() if k not in ("digest", "model_version", "bundle_id")} | changes
    content["model_digest"] = model._digest((folder / "model.txt").read_bytes())
    digest = model._digest(canonical_json(content))
    version = "m-" + digest.removeprefix("sha256:")[:12]
    (folder / "bundle.json").write_bytes(
        canonical_json({**content, "digest": digest, "model_version": version, "bundle_id": version})
    )


def test_a_sound_bundle_comes_back_the_same(trained: Trained, folder: Path, loaded_here: list[str]) -> None:
    bundle = load_bundle(folder, digest=trained.bundle.document["digest"])
    assert folder.name == bundle.model_version == trained.bundle.model_version
    assert bundle.document == trained.bundle.document
    assert loaded_here == [trained.bundle.model_text]


def test_a_damaged_bundle_reaches_no_loader(folder: Path, loaded_here: list[str], probed: list[str]) -> None:
    random = np.random.default_rng(11)
    sound = {name: (folder / name).read_bytes() for name in ("model.txt", "bundle.json")}
    for trial in range(60):
        name = ("model.txt", "bundle.json")[trial % 2]
        damaged = bytearray(sound[name])
        at = int(random.integers(len(damaged)))
        if trial % 3 == 0:
            del damaged[at:]
        elif trial % 3 == 1:
            damaged[at] ^= int(random.integers(1, 256))
        else:
            damaged[at:at] = b"9"
        (folder / name).write_bytes(damaged)
        with pytest.raises(BundleError):
            load_bundle(folder)
        (folder / name).write_bytes(sound[name])
    assert (loaded_here, probed) == ([], [])


def test_golden_scores_that_do_not_come_out_are_refused(folder: Path, loaded_here: list[str]) -> None:
    golden = json.loads((folder / "bundle.json").read_bytes())["golden"]
    reseal(folder, golden={**golden, "scores": [score + 1e-6 for score in golden["scores"]]})
    with pytest.raises(BundleError, match="golden scores"):
        load_bundle(folder)
    assert loaded_here == []


def test_a_model_that_kills_its_reader_kills_only_the_throw_away_process(folder: Path, loaded_here: list[str]) -> None:
    text = (folder / "model.txt").read_text()
    (folder / "model.txt").write_text(text.replace("left_child=", "left_child=99999 ", 3))
    reseal(folder)
    with pytest.raises(BundleError, match="throw-away process"):
        load_bundle(folder)
    assert loaded_here == []


def test_a_model_that_hangs_its_reader_is_given_up(folder: Path, loaded_here: list[str]) -> None:
    with pytest.raises(BundleError, match="hung"):
        load_bundle(folder, timeout_s=0.01)
    assert loaded_here == []


def test_another_bundle_than_the_one_asked_for_is_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match="asked for"):
        load_bundle(folder, digest="sha256:" + "0" * 64)


def test_a_bundle_of_other_features_is_refused(folder: Path, probed: list[str]) -> None:
    reseal(folder, features=["device"])
    with pytest.raises(BundleError, match="other features"):
        load_bundle(folder)
    assert probed == []


def test_a_missing_bundle_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.json cannot be read"):
        load_bundle(tmp_path)
