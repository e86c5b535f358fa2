# SPDX-License-Identifier: Apache-2.0
"""What the bench makes of its samples and says of them; how long anything takes is not asserted anywhere."""

import configparser
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mantlet import cli
from mantlet.cli import bench
from mantlet.edge.accelerator import Accelerator
from mantlet.edge.bench import outcome as outcomes
from mantlet.edge.bench import variants
from mantlet.edge.bench.outcome import Outcome, Samples, Unit
from mantlet.edge.bench.report import Host, Report, host, markdown, report_to_value, text_lines
from mantlet.edge.machine import _LINE

ROOT = Path(__file__).parents[3]
HOST = Host(processor="Processor 3000", cores=2, kernel="Linux 6", accelerator=Accelerator.TCG)


def seconds(label: str, *values: float) -> Samples:
    return Samples(label=label, unit=Unit.SECONDS, values=values)


def ratio(ours: float, theirs: float, *, bound: float = 1.5) -> Outcome:
    return outcomes.ratio(
        seconds("ours", ours), seconds("theirs", theirs), name="boot", goal="boot", bound=bound, how="so"
    )


def test_a_ratio_is_of_medians_and_one_slow_round_does_not_move_it() -> None:
    ours, theirs = seconds("ours", 3, 90, 3.5), seconds("theirs", 2, 2.5, 1)
    assert outcomes.ratio(ours, theirs, name="x", goal="x", bound=2, how="").value == 3.5 / 2


@pytest.mark.parametrize(("value", "verdict"), [(1.4, "met"), (1.5, "met"), (1.51, "missed")])
def test_a_bound_is_kept_up_to_itself(value: float, verdict: str) -> None:
    assert ratio(value, 1).verdict == verdict


def test_the_sides_of_a_ratio_take_turns() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> tuple[str, Callable[[], float]]:
        def measure() -> float:
            order.append(name)
            return value + len(order)

        return name, measure

    first, second = outcomes.take_turns(3, side("a", 0), side("b", 10))
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert (first.label, first.values) == ("a", (1, 3, 5))
    assert (second.label, second.values) == ("b", (12, 14, 16))


def test_the_report_names_the_machine_and_each_goal_with_its_bound_and_range() -> None:
    measured = outcomes.single(
        seconds("predict", 0.4, 0.2, 0.3), name="predict", goal="predict", bound=1, how="wall clock"
    )
    text = "\n".join(text_lines(Report(host=HOST, rounds=3, outcomes=(measured, ratio(3, 1)))))
    assert "Processor 3000, 2 cores, Linux 6, guests by emulation (TCG)" in text
    assert "0.30 s  ≤ 1 s" in text
    assert "predict 0.30 s (0.20 s – 0.40 s)" in text
    assert "3.00 ×  ≤ 1.5 ×    missed" in text


def test_the_machine_is_described_without_its_host_name() -> None:
    found = host(Accelerator.KVM)
    assert found.cores >= 1
    assert found.processor
    assert Path("/proc/sys/kernel/hostname").read_text().strip() not in found.shown.split()


def test_the_document_has_a_row_for_each_goal() -> None:
    report = Report(host=HOST, rounds=1, outcomes=(ratio(1, 1), ratio(2, 1)))
    rows = markdown(report).split("\n")
    assert rows[0] == "# Benchmarks"
    assert [row.split(" | ")[1:4] for row in rows if row.startswith("| boot")] == [
        ["1.00 ×", "≤ 1.5 ×", "met"],
        ["2.00 ×", "≤ 1.5 ×", "missed"],
    ]


@pytest.mark.parametrize(("value", "code"), [(1.0, 0), (2.0, 1)])
def test_a_missed_bound_is_exit_code_1_and_json_says_which(
    value: float,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(bench, "PARTS", {"sizes": lambda _site: (ratio(value, 1),)})
    monkeypatch.setattr("mantlet.edge.project.build_folder", lambda: tmp_path)
    monkeypatch.setattr("mantlet.edge.bench.site.Site.accelerator", Accelerator.TCG)
    assert cli.main(["bench", "--only", "sizes", "--json"], {}) == code
    said = json.loads(capsys.readouterr().out)
    assert said["met"] is (code == 0)
    assert said == report_to_value(Report(host=host(Accelerator.TCG), rounds=3, outcomes=(ratio(value, 1),)))


@pytest.mark.parametrize(
    "words",
    [
        ["--only", "speed"],
        ["--rounds", "0"],
        ["--rounds", "-1"],
        ["--rounds", "many"],
        ["--only"],
        ["--only", "sizes", "--write"],
    ],
)
def test_an_unknown_part_no_rounds_and_half_a_document_are_usage_errors(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", *words], {})
    assert ended.value.code == 2


def test_the_reference_enables_nothing_of_ours_and_keeps_the_rest(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe"
    _copy(ROOT / "image", recipe)
    before = (recipe / "keep" / "root.list").read_text().splitlines()
    variants._empty(recipe)
    after = (recipe / "keep" / "root.list").read_text().splitlines()
    removed = {line for line in before if line not in after}
    assert {Path(line).name for line in removed} == {
        "mantlet-boot.service",
        "mantlet-fuse.service",
        "mantlet-serve.service",
        "mantlet.conf",
    }
    preset = recipe / "mkosi.extra/usr/lib/systemd/system-preset/00-mantlet.preset"
    enabled = [line.split()[1] for line in preset.read_text().splitlines() if line.startswith("enable ")]
    assert enabled == ["mantlet-reference.service", "var.mount"]


def test_what_the_reference_prints_is_a_line_that_the_machine_is_waited_on_with() -> None:
    unit = configparser.RawConfigParser()
    unit.read_string(variants._UNIT_TEXT)
    printed = unit["Service"]["ExecStart"].removeprefix("/usr/bin/echo ").strip('"')
    found = _LINE.fullmatch(printed.encode() + b"\r")
    assert found
    assert (found[1].decode(), found[2].decode()) == (variants.REACHED.stage, variants.REACHED.code)


def test_plain_settings_lose_scripts_and_signatures_and_keep_packages(tmp_path: Path) -> None:
    settings = tmp_path / "mkosi.conf"
    settings.write_text(
        "[Output]\nFormat=disk\nSplitArtifacts=uki\n"
        "[Build]\nEnvironment=KEEP=x\n"
        "[Validation]\nVerity=signed\n"
        "[Content]\nInitrds=%O/initrd.cpio.zst\nFinalizeScripts=keep-only\n"
        "Packages=\n        kmod\n        udev\n"
    )
    variants._drop(settings, sections=("Validation",), settings={"Output": ("SplitArtifacts",)})
    kept = settings.read_text()
    assert "Format=disk" in kept
    assert "Initrds=%O/initrd.cpio.zst" in kept
    assert kept.split("Packages=")[1].split() == ["kmod", "udev"]
    assert not {"SplitArtifacts", "KEEP", "Verity", "FinalizeScripts"} & set(
        kept.replace("=", "\n").split("\n")
    )


def _copy(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
