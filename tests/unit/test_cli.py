"""The command line: quick to answer, thin, and a user's mistake is one sentence with exit code 2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

typer = pytest.importorskip("typer")
from typer.testing import CliRunner, Result  # noqa: E402

from dragfield.cli.app import app  # noqa: E402
from dragfield.cli.demo import SHOWN  # noqa: E402
from dragfield.cli.tables import flat, shown  # noqa: E402
from dragfield.core.demo.cases import sample_cases  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def drag(tmp_path: Path) -> Path:
    path = tmp_path / "drag.json"
    region = [[[[0.2, 0.2], [0.5, 0.2], [0.5, 0.6], [0.2, 0.6]]]]
    operation = {"kind": "region", "task": "relocation", "region": region, "target": [0.7, 0.5]}
    path.write_text(json.dumps({"version": 1, "operations": [operation]}))
    return path


def test_help_answers_without_loading_torch() -> None:
    program = (
        "import sys, dragfield.cli\n"
        "sys.argv = ['dragfield', '--help']\n"
        "try:\n    dragfield.cli.main()\n"
        "finally:\n    print(sorted({'torch', 'diffusers', 'numpy', 'cv2'} & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    "command",
    [["demo"], ["edit"], ["bench"], ["check"],
     *(["train", what] for what in ("autoencoder", "flux", "adapter", "unet-autoencoder", "unet", "readout"))],
    ids=" ".join,
)
def test_every_command_and_every_option_says_what_it_is_for(command: list[str]) -> None:
    found = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]
    assert found.help
    assert [option.name for option in found.params if option.name != "help" and not option.help] == []
    assert invoke(*command, "--help").exit_code == 0


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documents_show_only_commands_and_options_that_exist(document: str) -> None:
    lines = re.findall(r"^dragfield .*", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE)
    assert lines
    for line in lines:
        found = typer.main.get_command(app)
        for word in line.split("#")[0].split()[1:]:
            found = getattr(found, "commands", {}).get(word, found)
        options = {name for option in found.params for name in (*option.opts, *option.secondary_opts)}
        assert set(re.findall(r"--[\w-]+", line)) <= options, line
        assert found.name != "root", line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["edit", "nowhere.png"], "nowhere.png does not exist"),
        (["edit", "{picture}"], "--instruction"),
        (["edit", "{picture}", "--instruction", "nowhere.json"], "nowhere.json cannot be read"),
        (["edit", "{picture}", "--instruction", "{picture}"], "not UTF-8"),
        (["edit", "{folder}"], "is not a sample folder"),
        (["edit", "{folder}", "--instruction", "{drag}"], "leave --instruction out"),
        (["edit", "{drag}", "--instruction", "{drag}"], "cannot be read as a picture"),
        (["edit", "{picture}", "--instruction", "{drag}", "--output", "edit.txt"], "--output edit.txt is no picture"),
        (["edit", "{picture}", "--instruction", "{drag}", "--frames", "3", "--output", "edit.png"], "has no place for 3 frames"),
        (["edit", "{picture}", "--instruction", "{drag}", "--frames", "3", "--output", "%d/%s.png"], "has no place for 3 frames"),
        (["edit", "{picture}", "--instruction", "{drag}", "--preset", "reference"], "use --method dragflow"),
        (["edit", "{picture}", "--instruction", "{drag}", "--longest", "8"], "use 16 or more"),
        (["edit", "{picture}", "--instruction", "{drag}", "--device", "nonsense"], "--device nonsense"),
        (["edit", "{picture}", "--instruction", "{drag}", "--model", "{folder}"], "has no vae/config.json"),
        (["bench", "--methods", "magic"], "'magic' is unknown"),
        (["bench", "--json", "{folder}"], "is a folder"),
        (["check", "nowhere.png"], "nowhere.png is no file"),
        (["check", "{drag}"], "cannot be read as a picture"),
        (["train", "flux", "--vae", "nowhere"], "dragfield train autoencoder"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], words: str, picture: Path, drag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dragfield.cli.console.err.soft_wrap", True)
    result = invoke(*(a.format(picture=picture, drag=drag, folder=tmp_path) for a in arguments))
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.startswith("dragfield: ") and result.stderr.count("\n") == 1
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("arguments", [["edit"], ["nonsense"], ["bench", "--cases", "0"], ["bench", "--suite", "x"]])
def test_a_wrong_call_exits_with_2_and_shows_the_usage(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.stderr and "Traceback" not in result.stderr


def test_debug_shows_where_a_mistake_was_found(tmp_path: Path) -> None:
    result = invoke("--debug", "edit", tmp_path)
    assert isinstance(result.exception, ValueError)


def test_a_fault_of_ours_is_not_taken_for_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("dragfield.benchmarks.demo.run", broken)
    assert isinstance(invoke("bench").exception, RuntimeError)


@pytest.mark.parametrize("method", ["dragfield", "dragflow"])
@pytest.mark.parametrize("size", [(96, 64), (131, 90)])
def test_edit_changes_a_picture_near_the_drag_and_nowhere_else(
    method: str, size: tuple[int, int], picture: Path, drag: Path, flux_folder: Path, tmp_path: Path
) -> None:
    Image.open(picture).resize(size).save(picture)
    output = tmp_path / "new" / "edit.png"
    result = invoke(
        "edit", picture, "--instruction", drag, "--model", flux_folder, "--method", method, "--longest", 96,
        "--device", "cpu", "--output", output, *(("--preset", "tuned") if method == "dragflow" else ()),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert method in result.stdout
    changed = (np.asarray(Image.open(output)) != np.asarray(Image.open(picture))).any(-1)
    width, height = size
    assert changed[int(0.25 * height) : int(0.55 * height), int(0.25 * width) : int(0.45 * width)].mean() > 0.9
    assert not changed[:, : int(0.05 * width)].any() and not changed[int(0.95 * height) :].any()


@pytest.mark.parametrize(("asked", "names"), [("along", ["1.png", "2.png"]), ("along/at_%03d.png", ["at_001.png", "at_002.png"])])
def test_frames_of_a_drag_go_into_a_folder_in_their_order(
    asked: str, names: list[str], picture: Path, drag: Path, flux_folder: Path, tmp_path: Path
) -> None:
    order = ["edit", picture, "--instruction", drag, "--model", flux_folder, "--longest", 96, "--device", "cpu"]
    result = invoke(*order, "--frames", 2, "--output", tmp_path / asked)
    assert result.exit_code == 0, result.output
    assert "2 frames in" in result.stdout and sorted(path.name for path in (tmp_path / "along").iterdir()) == names
    assert invoke(*order, "--output", tmp_path / "alone.png").exit_code == 0
    first, last, alone = (np.asarray(Image.open(path)) for path in (*(tmp_path / "along" / name for name in names), tmp_path / "alone.png"))
    assert (last == alone).all() and (first != alone).any()


def test_check_says_what_the_bundled_model_can_do_and_writes_it_down(tmp_path: Path) -> None:
    image = next(iter(sample_cases(1, 3))).source[64:192, 64:192]
    Image.fromarray((255 * image).round().astype(np.uint8)).save(tmp_path / "scene.png")
    result = invoke("check", tmp_path / "scene.png", "--longest", "128", "--json", tmp_path / "a/c.json", "--chart", tmp_path / "a/c.png")
    assert result.exit_code == 0, result.stderr
    assert "closes" in result.stdout and "its own taps (DOUBLE-2-0" in result.stdout
    numbers = json.loads((tmp_path / "a/c.json").read_text())
    assert numbers["size"] == [128, 128] and numbers["round_trips"][0]["psnr"] > numbers["vae_db"]
    assert Image.open(tmp_path / "a/c.png").height > 20 * len(numbers["sight"]["taps"])


def test_settings_that_a_check_found_are_kept_as_a_profile_and_edits_go_by_it(
    picture: Path, drag: Path, flux_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dragfield.core.check as check_package

    def found(backbone, autoencoder, image, cond, settings, **how):
        better = replace(settings, drag=replace(settings.drag, rate=0.2, intensify_rate=0.15, transport_steps=2, intensify_steps=1))
        return check_package.Tuned(better, 10.0, 12.0, 14.0, ())

    monkeypatch.setattr(check_package, "tune", found)
    kept, large = tmp_path / "a" / "profile.json", tmp_path / "large.png"
    Image.open(picture).resize((128, 128)).save(large)
    arguments = ["check", large, "--model", flux_folder, "--device", "cpu", "--longest", "128", "--find-settings", "--profile", kept]
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert "rate 0.2 and 0.15, 2 and 1 iterations" in " ".join(result.stdout.split()) and json.loads(kept.read_text())["gain_db"] == 2.0
    edit = ["edit", picture, "--instruction", drag, "--method", "dragflow", "--device", "cpu", "--profile", kept]
    result = invoke(*edit, "--model", flux_folder, "--output", tmp_path / "edit.png")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "preset tuned, by its profile: rate 0.2 and 0.15" in said and "and 3 backward passes" in said
    result = invoke(*edit, "--output", tmp_path / "other.png")
    assert result.exit_code != 0 and "was found on another model" in " ".join(result.output.split())
    result = invoke(*edit, "--model", flux_folder, "--preset", "published", "--output", tmp_path / "other.png")
    assert result.exit_code != 0 and "of the tuned dragflow" in " ".join(result.output.split())
    result = invoke("check", picture, "--profile", kept)
    assert result.exit_code != 0 and "add --find-settings" in " ".join(result.output.split())
    monkeypatch.setattr(check_package, "tune", lambda *args, **how: check_package.Tuned(args[4], 10.0, 10.1, 10.2, ()))
    kept.unlink()
    assert "no profile was written" in invoke(*arguments).stdout and not kept.exists()


def test_the_published_preset_is_dragflows_by_its_old_name_too_and_the_default_on_a_model_of_ones_own(
    picture: Path, drag: Path, flux_folder: Path, tmp_path: Path
) -> None:
    results = {}
    for preset in ("tuned", "published", "reference", "auto"):
        output = tmp_path / f"{preset}.png"
        result = invoke(
            "edit", picture, "--instruction", drag, "--model", flux_folder, "--method", "dragflow", "--preset", preset,
            "--device", "cpu", "--lean", "--output", output,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert ("InstantCharacter at 1.5" in result.stdout) == (preset != "tuned")
        results[preset] = np.asarray(Image.open(output))
    assert not np.array_equal(results["tuned"], results["published"])
    assert np.array_equal(results["reference"], results["published"]) and np.array_equal(results["auto"], results["published"])


def test_the_published_preset_cuts_fractions_off_joins_prompts_with_nothing_and_keeps_the_size(
    picture: Path, drag: Path, flux_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dragfield.core.backbones import flux_folder as loading

    written = json.loads(drag.read_text())
    drag.write_text(json.dumps({**written, "prompts": {"background": "a cup", "editing": "further right"}}))
    asked, encode = [], loading.encode_prompts

    def seen(folder, prompts, *args, t5_len, **kwargs):
        asked.append((tuple(prompts), t5_len))
        return encode(folder, prompts, *args, t5_len=t5_len, **kwargs)

    monkeypatch.setattr(loading, "encode_prompts", seen)
    for preset in ("published", "tuned"):
        result = invoke(
            "edit", picture, "--instruction", drag, "--model", flux_folder, "--method", "dragflow", "--preset", preset, "--device", "cpu",
            "--output", tmp_path / "out.png",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
    assert asked == [(("a cup", "a cupfurther right"), 256), (("a cup", "a cup further right"), 512)]


def test_demo_prints_a_row_for_each_edit_and_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    figures = {**dict.fromkeys(SHOWN[1:], 0.5), "centroid_error_px": 1.25, "rotation_error_deg": None}
    report = {"seconds": 3.0, "cases": [{"name": "1-relocation", "methods": {"no_edit": figures, "dragflow": figures}}]}

    def run(output: Path, progress, *, cases: int, seed: int) -> dict:
        asked.update(output=output, cases=cases, seed=seed)
        progress(1, 4, "1 relocation: inversion")
        return report

    monkeypatch.setattr("dragfield.core.demo.showcase.run", run)
    result = invoke("demo", "--output", tmp_path, "--cases", 1, "--seed", 0)
    assert result.exit_code == 0, result.stderr
    assert asked == {"output": tmp_path, "cases": 1, "seed": 0}
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["1-relocation", "dragflow", "1.25", "-", *["0.50"] * 4] in lines
    assert str(tmp_path / "demo.png") in result.stdout


def test_bench_hands_its_options_on_and_writes_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    figures = {"centroid_error_px": {"mean": 1.25, "p90": 3.0}, "source_left": None}
    report = {"suite": "demo", "cases": 3, "seed": 7, "methods": {"no_edit": figures}}

    def run(cases: int, seed: int, methods: list[str], *, world: str, progress) -> dict:
        asked.update(cases=cases, seed=seed, methods=methods, world=world)
        progress(1, 3, "no_edit")
        return report

    monkeypatch.setattr("dragfield.benchmarks.demo.run", run)
    path = tmp_path / "new" / "report.json"
    result = invoke("bench", "--cases", 3, "--seed", 7, "--methods", "no_edit, dragfield", "--world", "figures", "--json", path)
    assert result.exit_code == 0, result.stderr
    assert asked == {"cases": 3, "seed": 7, "methods": ["no_edit", "dragfield"], "world": "figures"}
    assert json.loads(path.read_text()) == report
    assert "no_edit" in result.stdout and "1.25" in result.stdout


@pytest.mark.parametrize(("suite", "of_its_own"), [("speed", {"flops_over_minimum": 1.02}), ("point-speed", {"recipe": "carry"})])
def test_bench_speed_shows_the_ratio_and_writes_everything(
    suite: str, of_its_own: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = {"model": "flux-384", "size": 256, "seconds": {"published": 2.0, "ours": 0.5}, "flops": {"ours": 10**12}}
    case |= {"time_ratio": 4.0, "memory_ratio": 1.5, "flops_ratio": 3.0, **of_its_own}
    report = {"suite": suite, "device": "cpu", "time_ratio": 4.0, "cases": [case]}
    module = f"dragfield.benchmarks.{suite.replace('-', '_')}"
    monkeypatch.setattr(f"{module}.run", lambda *, device, progress: {**report, "device": device})
    ratio = {"seconds": 1.75, "flops": 4.0, "memory_bytes": 3.0}
    grown = {"axes": {"size": [{"value": 512, "seconds": 1.5, "flops": 10**12, "memory_bytes": 10**9, "ratio": ratio}]}}
    monkeypatch.setattr("dragfield.benchmarks.growth.run", lambda *, device, progress: grown)
    path = tmp_path / "speed.json"
    result = invoke("bench", "--suite", suite, "--device", "cpu", "--json", path, "--out", tmp_path / "plot")
    assert result.exit_code == 0, result.stderr
    assert "4.00 x as fast on cpu" in result.stdout and "flux-384" in result.stdout
    assert all(str(shown(value)) in result.stdout for value in of_its_own.values())
    assert json.loads(path.read_text()) == report | ({"growth": grown} if suite == "speed" else {})
    assert (tmp_path / "plot" / "growth.svg").is_file() == ("1.75" in result.stdout) == (suite == "speed")


def test_a_table_has_a_column_for_each_part_of_a_figure_and_a_dash_for_none() -> None:
    assert flat({"a": {"mean": 1.0, "p90": 2.0}, "b": None}) == {"a mean": 1.0, "a p90": 2.0, "b": None}
    assert [shown(value) for value in (None, 3.0, 0.126, 0.0126, 7, "x")] == ["-", "3", "0.13", "0.0126", "7", "x"]


def test_a_table_in_a_log_is_not_cut() -> None:
    row = {"method": "latent_copy_paste", **{f"figure_{i}": 12.345 for i in range(12)}}
    program = f"from dragfield.cli.console import out\nfrom dragfield.cli.tables import table\nout.print(table('', [{row}]))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ran.stdout.count("12.3") == 12 and "latent_copy_paste" in ran.stdout, ran.stdout + ran.stderr
