"""The commands of a generator's life, one after the other as a user types them: train, evaluate,
sample."""

import json

import pytest
from PIL import Image
from small_training import ENCODER, SMALL, make_noise

import semhead_lib as sh
from semhead_lib import cli
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.packing import pack_dataset
from semhead_lib.evaluation.report import Evaluation
from semhead_lib.training.logs import read_log

SETTINGS = [f"{key}={value}" for key, value in SMALL.items() if key != "kimg"]


def run(*words) -> int:
    return cli.main([str(word) for word in words])


@pytest.mark.slow
def test_train_evaluate_and_sample(tmp_path, capsys):
    subjects = make_noise(tmp_path / "subjects", semantic=False, subjects=96, views=8)
    model = tmp_path / "run" / "generator"
    assert run("data", "encode", subjects, "encoder=headclip-64", "device=cpu") == 0
    command = (
        "train",
        subjects,
        tmp_path / "run",
        "kimg=0.008",
        "limit=32",
        "device=cpu",
        *SETTINGS,
    )
    assert run(*command) == 0 and capsys.readouterr().out.splitlines()[-1] == str(model)
    assert run(*command) == 0 and len(read_log(tmp_path / "run")) == 2, (
        "a finished training was begun again"
    )

    judged = tmp_path / "figures.json"
    options = ("heads=48", "consistency_heads=2", "device=cpu")
    assert run("evaluate", model, subjects, judged, *options) == 0
    table = capsys.readouterr().out
    assert (
        "| directional bias | " in table
        and "| azimuth | Fréchet distance |" in table
        and "| -135 | " in table
    )
    found = Evaluation.from_json(json.loads(judged.read_text()))
    assert (
        found.features().startswith("headjudge [weights ")
        and "power_8-12" in found.generated["all"]
    )
    assert found.generated["all"]["condition_recall_5"].protocol.features.startswith(
        "headclip-64 [weights "
    )

    assert (
        run(
            "sample",
            model,
            tmp_path / "heads",
            "heads=2",
            "frames=4",
            "texts=an old man",
            "device=cpu",
        )
        == 0
    )
    assert Image.open(tmp_path / "heads" / "heads.png").width > 8 * 32
    assert (tmp_path / "heads" / "heads.mp4").stat().st_size > 500


def test_a_stream_is_trained_on(tmp_path, capsys, noise_folder):
    words = (
        "train",
        noise_folder,
        tmp_path / "run",
        "kimg=0.004",
        "stream=true",
        "workers=1",
        "device=cpu",
        *SETTINGS,
    )
    assert run(*words) == 0
    assert (
        json.loads((tmp_path / "run" / "settings.json").read_text())["data"]["stream_workers"] == 1
    )
    assert run(*words, "limit=4") == 1
    assert (
        "limit=4 is of subjects in memory: leave it out with stream=true" in capsys.readouterr().err
    )


def test_a_packed_dataset_is_trained_on(tmp_path, capsys, noise_folder):
    pack_dataset(noise_folder, tmp_path / "noise.tar", 1.0, psnr=5, progress=False)
    words = (
        "train",
        tmp_path / "noise.tar",
        tmp_path / "run",
        "kimg=0.008",
        "device=cpu",
        *SETTINGS,
    )
    assert run(*words, "limit=6") == 0
    begun = json.loads((tmp_path / "run" / "settings.json").read_text())["data"]
    assert (begun["subjects"], begun["encoder"]) == (6, ENCODER) and len(
        read_log(tmp_path / "run")
    ) == 2
    assert run(*words, "stream=true") == 1
    assert (
        "is a packed dataset, which is read into memory: leave out stream=true"
        in capsys.readouterr().err
    )
    assert run("train", noise_folder, *words[2:], "limit=6") == 1
    assert "was begun with other settings: its data are other subjects" in capsys.readouterr().err


def test_a_packed_dataset_is_reconstructed(tmp_path, capsys, noise_folder):
    for name, geometry in (("bare", False), ("deep", True)):
        path = tmp_path / f"{name}.tar"
        pack_dataset(noise_folder, path, 1.0, psnr=5, geometry=geometry, progress=False)
    small = (
        *("preset=semhead-32", "crop=16", "subjects_per_batch=2", "views_per_subject=3"),
        *("pixels=32", "kimg=0.012", "device=cpu"),
    )
    out = tmp_path / "begin"
    assert run("reconstruct", tmp_path / "bare.tar", out, *small) == 1
    assert (
        "bare.tar: has no depth and no segmentation: pack the dataset with geometry=true"
        in capsys.readouterr().err
    )
    assert not out.exists()
    assert run("reconstruct", tmp_path / "deep.tar", out, *small, "limit=6") == 0
    last = read_log(out)[-1]
    assert last["step"] == 2 and {"density", "colour", "class"} <= last.keys()
    assert json.loads((out / "settings.json").read_text())["data"]["subjects"] == 6
    assert capsys.readouterr().out.strip() == str(out / "generator")
    assert run("reconstruct", tmp_path / "bare.tar", tmp_path / "flat", *small, "pixels=0") == 0


def test_the_facade_trains_on_subjects_in_memory(tmp_path, noise_folder):
    data = SubjectsInMemory.load(noise_folder)
    settings = SMALL | {"kimg": 0.004}
    folder = sh.train(data, tmp_path / "run", device="cpu", progress=False, **settings)
    assert sh.load(folder, device="cpu").sample(seed=1).render(sh.orbit(2)).shape == (2, 3, 32, 32)
    with pytest.raises(ValueError, match="limit and stream are for a dataset's folder"):
        sh.train(data, tmp_path / "run", limit=4, **settings)
