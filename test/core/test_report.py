import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memorysam_core.labels import DELIVER, IGNORE, LabelSpace
from memorysam_core.metrics import ConfusionMatrix
from memorysam_core.report import (
    Collector,
    Entry,
    Group,
    ReportData,
    Run,
    Sample,
    Tile,
    figures,
    render,
    write_report,
)
from memorysam_core.report.pictures import error, fitted, overlay, shown, small
from memorysam_core.report.poster import write_poster

pytest.importorskip("matplotlib")

REPOSITORY = Path(__file__).resolve().parents[2]
SENSORS = ("image", "depth", "event", "lidar")
HOSTILE = """<script>alert("1")</script>&'$x_"""
SKY = DELIVER.classes.index("Sky")
ROAD = DELIVER.classes.index("Road")
VOID = {"meta", "img", "input", "br", "link", "hr", "path", "use", "rect", "stop"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; fails where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        if not self._open or self._open[-1] not in ("style",):
            self.text += data

    def attributes(self, name):
        return [a[name] for _, a in self.elements if name in a]


def frames(height=64, width=112, seed=0):
    rng = np.random.default_rng(seed)
    pictures = {n: rng.integers(0, 256, (height, width, 3), np.uint8) for n in SENSORS}
    pictures["lidar"] *= rng.random((height, width, 1)) < 0.05
    return pictures


def truth_of(height=64, width=112):
    truth = np.full((height, width), ROAD, np.uint8)
    truth[: height // 2] = SKY
    return truth


def drive(sets=12, dead=range(4, 8), truth=True, moments=4, condition=str, size=(64, 112)):
    """Sets whose labels are right but for a tenth of the road; the LiDAR is dead in some."""
    collector = Collector(DELIVER, SENSORS, moments)
    for k in range(sets):
        present = [s for s in SENSORS if s != "lidar" or k not in dead]
        labels = truth_of(*size)
        labels[-size[0] // 20 :] = DELIVER.classes.index("SideWalk")
        collector.add(
            0.5 * k,
            present,
            {name: f for name, f in frames(*size, seed=k).items() if name in present},
            labels,
            truth_of(*size) if truth else None,
            condition("sun" if k < sets // 2 else "rain"),
            {"camera to labels": 100.0 + k, "model": 50.0},
        )
    return collector


def report(collector=None, run=None, **rest):
    return (collector or drive()).report("A drive", run or Run("memorysam x", "x.mcap"), **rest)


def test_collected_scores_are_those_of_one_confusion_matrix():
    made = report()
    groups = {(g.kind, g.name): g for g in made.groups}
    assert [g.sets for g in made.groups] == [12, 8, 4, 6, 6]
    assert set(groups) == {
        ("all", "all sets"),
        ("sensors", "every sensor"),
        ("sensors", "without LiDAR"),
        ("condition", "sun"),
        ("condition", "rain"),
    }
    labels = truth_of()
    labels[-64 // 20 :] = DELIVER.classes.index("SideWalk")
    one = ConfusionMatrix(len(DELIVER)).update(labels, truth_of())
    np.testing.assert_array_equal(groups["all", "all sets"].matrix.counts, 12 * one.counts)
    np.testing.assert_array_equal(groups["sensors", "without LiDAR"].matrix.counts, 4 * one.counts)
    assert made.timeline[0].miou == one.scores().miou_present
    assert made.sets_with("lidar") == 8
    np.testing.assert_array_equal(made.latencies_ms["camera to labels"], 100.0 + np.arange(12))


@pytest.mark.parametrize("sets", [1, 3, 4, 5, 9, 100, 257])
def test_the_filmstrip_spans_the_run_and_stays_small(sets):
    collector = drive(sets, truth=False, size=(4, 8))
    made = report(collector)
    times = [m.t_s for m in made.moments]
    assert len(times) == min(sets, 4)
    assert times == sorted(times)
    assert times[0] == 0
    assert times[-1] >= 0.5 * (sets - 1) * 0.7
    assert len(collector._strip._kept) < 8


def test_what_is_collected_does_not_change_with_the_caller_s_arrays():
    collector = Collector(DELIVER, SENSORS)
    pictures, labels = frames(), truth_of()
    collector.add(0.0, SENSORS, pictures, labels)
    for array in (*pictures.values(), labels):
        array[:] = 0
    (moment,) = report(collector).moments
    assert moment.labels.max() == SKY
    assert moment.frames["image"].any()


def test_the_page_is_one_file_that_needs_nothing_else():
    text = render(report(tiles=(Tile("mIoU", "61 %"),), notes=("a note",)))
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert all(src.startswith("data:image/") for src in page.attributes("src"))
    for name in ("href", "xlink:href"):
        assert all(target.startswith("#") for target in page.attributes(name))
    assert "url(http" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in [
        a for tag, a in page.elements if tag == "meta"
    ]
    identifiers = page.attributes("id")
    assert len(identifiers) == len(set(identifiers))


def test_every_chart_is_drawn_for_wide_and_narrow_pages_in_the_page_s_colours():
    text = render(report())
    assert text.count("<svg") == 4
    assert "#0a0a0" not in text
    assert "var(--accent)" in text


def test_all_text_is_escaped():
    space = LabelSpace("x" + HOSTILE, (HOSTILE, "b"), ((1, 2, 3), (4, 5, 6)))
    collector = Collector(space, (*SENSORS, HOSTILE))
    labels = np.zeros((8, 8), np.uint8)
    collector.add(0.0, SENSORS, frames(8, 8), labels, labels, HOSTILE, {HOSTILE: 1.0, "model": 2.0})
    collector.add(1.0, SENSORS, frames(8, 8), labels, labels, HOSTILE, {HOSTILE: 1.5})
    made = collector.report(
        HOSTILE,
        Run(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE}),
        summary=HOSTILE,
        tiles=(Tile(HOSTILE, HOSTILE, HOSTILE),),
        why_absent={HOSTILE: HOSTILE},
        diagnostics=(Entry(HOSTILE, "warn", HOSTILE, {HOSTILE: HOSTILE}),),
        notes=(HOSTILE, "\x00\x1b[31m"),
    )
    text = render(made)
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.elements}
    assert "<script>" not in text
    assert page.text.count(HOSTILE) > 18
    assert "\x00" not in text
    assert "\x1b" not in text


def named(page, kind):
    """The names of the pictures on the stage, or in the strip."""
    stage = [a["alt"].partition(" at ")[0] for tag, a in page.elements if tag == "img"]
    checks = [a["type"] for tag, a in page.elements if tag == "input"]
    assert len(checks) == len(stage)
    return [name for name, check in zip(stage, checks, strict=True) if check == kind]


def classes(page):
    return [name for value in page.attributes("class") for name in value.split()]


def test_one_moment_is_shown_at_large_and_any_of_its_pictures_can_be():
    page = Page(render(report()))
    over = "labels over the image"
    everything = [over, "camera", "depth", "events", "LiDAR", "labels", "truth", "error"]
    assert named(page, "radio") == everything
    assert [a.get("checked", "no") for t, a in page.elements if a.get("type") == "radio"] == [
        None, *["no"] * 7
    ]  # fmt: skip
    strip = named(page, "checkbox")
    assert strip.count(over) == strip.count("error") == 3
    assert strip.count("LiDAR") + classes(page).count("absent") == 3
    assert classes(page).count("absent") == page.text.count("LiDAR missing") - 2 > 0


def test_the_picture_at_large_is_the_first_with_all_sensors():
    page = Page(render(report(drive(12, dead=range(4)))))
    (large,) = [a["alt"] for t, a in page.elements if t == "img"][:1]
    assert large == "labels over the image at 2.0 s"


def test_without_truth_there_are_no_places_for_it():
    page = Page(render(report(drive(truth=False))))
    assert "No ground truth was given" in page.text
    assert not {"truth", "error"} & set(named(page, "radio") + named(page, "checkbox"))
    assert "labels" not in named(page, "checkbox")  # which are over the image
    assert "IoU of each class" not in page.text


def test_why_nothing_could_be_scored_is_said():
    page = Page(render(report(drive(truth=False), why_unscored="the truth is of another day")))
    assert "the truth is of another day, so nothing can be scored" in page.text
    assert "No ground truth" not in page.text


def test_a_missing_sensor_is_said_plainly():
    collector = Collector(DELIVER, SENSORS)
    for k in range(3):
        there = ("image", "lidar") if k else ("image",)
        collector.add(k, there, {n: frames()[n] for n in there}, truth_of())
    why = {"depth": "the bag has no topic of it", "image": "never said of who is there"}
    page = Page(render(report(collector, why_absent=why, sensor_facts={"image": "/front"})))
    text = " ".join(page.text.split())
    assert "depth missing throughout events missing throughout LiDAR missing in 1 of 3" in text
    assert "depth missing throughout the bag has no topic of it" in text
    assert "camera in every set /front" in text
    assert "never said" not in text
    shown_ = named(page, "radio") + named(page, "checkbox")
    assert not {"depth", "events"} & set(shown_)  # no empty places for what never was


def test_a_sensor_s_health_is_told_once():
    node = Entry("node", "warn", "running on 3 of 4 sensors", {"sets complete": "8"})
    text = Page(render(report(sensor_facts={"lidar": "4.0 Hz"}, diagnostics=(node,)))).text
    assert text.count("4.0 Hz") == 1
    assert "running on 3 of 4 sensors" in text and "sets complete" in text


def test_parts_that_are_all_there_is_are_not_repeated():
    text = Page(render(report(drive(dead=(), condition=lambda _: "sun")))).text
    assert "every sensor" not in text
    assert text.count("all sets") == 2  # in both tables
    both = Page(render(report())).text
    assert "every sensor" in both and "without LiDAR" in both
    assert "%sets" in "".join(both.split())


def test_groups_that_were_not_counted_need_no_count():
    matrix = ConfusionMatrix(len(DELIVER)).update(truth_of(), truth_of())
    groups = (Group("all sets", "all", None, matrix), *(
        Group(f"condition {name}", "condition", None, matrix) for name in ("fog", "sun")
    ))  # fmt: skip
    made = ReportData("Evaluation", Run("x", "y"), DELIVER, SENSORS, groups=groups)
    page = Page(render(made))
    assert "condition fog" in page.text
    assert "%sets" not in "".join(page.text.split())  # no column of counts
    assert "Latency" not in page.text and "Over time" not in page.text


@pytest.mark.parametrize(("sets", "drawn"), [(2, False), (9, False), (10, True)])
def test_few_durations_are_not_drawn(sets, drawn):
    text = render(report(drive(sets, dead=())))
    assert ("Distribution of the latency" in text) == drawn
    assert "camera to labels" in text


def test_nothing_is_drawn_before_the_start_of_a_sparse_run():
    samples = [Sample(0.1 + 2.0 * k, ("image",)) for k in range(3)]
    spans = list(figures._spans(samples, lambda sample: sample.present))
    assert [(start, end) for start, end, _ in spans] == [(0.0, pytest.approx(5.1))]


def test_frames_of_another_shape_are_shown_in_the_cameras_proportions():
    square = np.zeros((128, 128, 3), np.uint8)
    square[::16, ::16] = 200  # returns, none of which may be lost
    for wide in (fitted(square, (360, 640)), fitted(square, (96, 320))):
        assert wide.shape[1] == 128 and set(np.unique(wide)) == {0, 200}
        assert (wide[..., 0] > 0).sum() == 64
    assert fitted(square, (96, 320)).shape == (38, 128, 3)
    assert fitted(square, (480, 320)).shape == (192, 128, 3)
    assert fitted(square, (64, 64)) is square


def test_a_sensor_that_comes_and_goes_at_every_set_costs_no_more_than_one_that_stays():
    """One at half the camera's rate, for an hour."""
    from matplotlib.figure import Figure

    present = (("image", "lidar"), ("image",))
    samples = [Sample(0.1 * k, present[k % 4 == 0]) for k in range(36_000)]
    axes = Figure().subplots()
    figures.draw_presence(axes, samples, ("image", "lidar"))
    shares, gaps = axes.collections[-2:]
    assert len(axes.collections) == 3 and gaps.get_hatch() == "////"
    path = shares.get_paths()[0].vertices
    inside = path[(path[:, 0] > 1) & (path[:, 0] < 3599), 1]
    assert set(inside.round(2)) <= {1.3, 1.15, 1.14, 1.16, 0.85, 0.86, 0.84}  # a quarter is gone


def test_an_empty_run_still_gives_a_page():
    text = Page(render(report(Collector(DELIVER, SENSORS)))).text
    for line in ("No set was labelled", "nothing can be scored"):
        assert line in text
    assert "Latency" not in text
    with pytest.raises(ValueError, match="no set was labelled"):
        write_poster(report(Collector(DELIVER, SENSORS)), "nowhere.png")


def test_a_single_set_gives_a_page():
    assert "mIoU" in Page(render(report(drive(1, dead=())))).text


def test_a_long_run_of_large_images_stays_small_enough_to_mail():
    ramp = np.linspace(0, 255, 1600).astype(np.uint8)
    smooth = np.broadcast_to(ramp[:, None], (900, 1600, 3)).copy()
    collector = Collector(DELIVER, SENSORS)
    for k in range(40):
        collector.add(k, SENSORS, dict.fromkeys(SENSORS, smooth), truth_of(900, 1600))
    text = render(report(collector))
    assert len(text) < 3_000_000
    widths = [
        Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).width
        for uri in Page(text).attributes("src")
    ]
    assert max(widths) == 1280 and len(widths) == 5 * 5 + 1


def test_the_file_is_whole_or_not_there(tmp_path, monkeypatch):
    path = write_report(report(), tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    monkeypatch.setattr("memorysam_core.report.page.render", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(report(), tmp_path / "other.html")
    assert [p.name for p in tmp_path.iterdir()] == ["deep"]


def test_the_same_run_gives_the_same_page():
    assert render(report()) == render(report())


def test_labels_lie_over_the_image_pixel_by_pixel():
    labels = np.array([[ROAD, SKY], [SKY, SKY]], np.uint8)
    image = np.full((4, 4, 3), 100, np.uint8)
    over = overlay(image, labels, DELIVER, 1000)
    assert over.shape == (6, 6, 3)  # no more than three times the labels' size
    for corner, index in ((over[:3, :3], ROAD), (over[:3, 3:], SKY), (over[3:], SKY)):
        mixed = 0.45 * 100 + 0.55 * np.array(DELIVER.colours[index])
        np.testing.assert_allclose(corner, np.broadcast_to(mixed, corner.shape), atol=1)
    np.testing.assert_array_equal(
        overlay(None, labels, DELIVER, 2), DELIVER.colourise(labels)
    )  # no image


def test_errors_are_red_and_unlabelled_pixels_black():
    labels, truth = np.full((2, 3), 6, np.uint8), np.full((2, 3), 6, np.uint8)
    labels[0, 0], truth[1, 1] = 7, IGNORE
    picture = error(labels, truth, IGNORE, None)
    assert picture[0, 0].tolist() == [255, 64, 48]
    assert picture[1, 1].tolist() == [0, 0, 0]
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 3


def test_single_lidar_returns_survive_shrinking_and_ids_are_never_mixed():
    lidar = np.zeros((400, 800, 3), np.uint8)
    lidar[201, 403] = 77
    assert small(lidar, 384).max() == 77
    assert small(lidar, 384).shape == (192, 384, 3)
    visible = shown("lidar", small(lidar, 384))
    assert (visible.max(axis=2) > 60).sum() in (2, 4)
    ids = np.random.default_rng(0).choice([3, 200], (400, 800)).astype(np.uint8)
    assert set(np.unique(small(ids, 384))) == {3, 200}


def test_near_depth_is_bright_far_depth_dark_and_none_black():
    depth = np.repeat(np.array([[1, 120, 255, 0]], np.uint8)[..., None], 3, axis=2)
    brightness = shown("depth", depth).sum(axis=2)[0]
    assert brightness[0] > brightness[1] > brightness[2] > brightness[3] == 0
    colourful = frames()["depth"]
    assert shown("depth", colourful) is colourful


def test_the_poster_shows_the_labels_first_and_the_failure(tmp_path):
    path = write_poster(report(drive(16, moments=8)), tmp_path / "poster.png")
    image = Image.open(path)
    assert image.width == 1600
    assert path.stat().st_size < 1_500_000
    without = Image.open(write_poster(report(drive(16, truth=False)), tmp_path / "without.png"))
    assert without.height < image.height
    # Below title and headings come the labels: half of them sky, half road, over noise.
    pixels = np.asarray(image.convert("RGB"))[150:260, 60:500].reshape(-1, 3).mean(0)
    expected = 0.55 * np.array(DELIVER.colours[SKY]) + 0.45 * 127
    np.testing.assert_allclose(pixels, expected, atol=25)


def test_the_run_says_what_machine_this_is(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    run = Run.here("memorysam x", "x.mcap", weights)
    assert run.checkpoint == "model.safetensors"
    assert re.fullmatch("[0-9a-f]{64}", run.digest)
    assert {"python", "torch"} <= set(run.versions)
    text = Page(render(report(run=run))).text
    assert run.digest in text
    assert run.versions["torch"] in text


def test_the_shipped_weights_come_with_a_caveat(tmp_path):
    ours = next((REPOSITORY / "memorysam_core" / "weights").glob("*.safetensors"))
    elsewhere = tmp_path / "model.safetensors"
    elsewhere.symlink_to(ours)
    run = Run.here("memorysam x", "x.mcap", elsewhere)
    assert "simulated drives only" in Page(render(report(run=run))).text
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"weights")
    assert Run.here("memorysam x", "x.mcap", other).caveat == ""
