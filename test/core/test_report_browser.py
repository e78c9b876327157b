"""The report in a real browser, where there is one: nothing is fetched, nothing sticks out."""

import io

import browser
import numpy as np
import pytest
from PIL import Image
from test_report import DELIVER, SENSORS, drive, report

from memorysam_core.report import Entry, Tile, write_report

pytest.importorskip("matplotlib")
if browser.found() is None:
    pytest.skip("no Chromium is installed", allow_module_level=True)

LONG = "/a/very/long/topic/that/has/no/space/in/it/" * 4


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report with the worst of texts, as a URL."""
    made = report(
        drive(12),
        tiles=tuple(
            Tile(f"mIoU {k}", f"{10**k} %", "over the classes that occur") for k in range(5)
        ),
        summary="What was done, in a sentence. " * 4,
        sensor_facts=dict.fromkeys(SENSORS, LONG),
        diagnostics=(Entry("node", "error", LONG, {LONG: LONG}),),
        notes=(LONG,),
    )
    path = write_report(made, tmp_path_factory.mktemp("report") / "report.html")
    return path.as_uri()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_it_is_read_without_scrolling_sideways(chromium, page, width):
    chromium.open(page, width)
    assert chromium.value("innerWidth") == width
    assert chromium.value("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('body *')].filter(e => !e.closest('svg, .scroll') &&"
    wide += f" e.getBoundingClientRect().right > {width} + 1).map(e => e.className || e.tagName)"
    assert chromium.value(wide) == []


def test_nothing_is_asked_of_anybody_and_nothing_is_wrong(chromium, page):
    chromium.open(page, 1280)
    requests = [
        event["params"]["request"]["url"]
        for event in chromium.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in requests if not url.startswith("data:")] == [page]
    trouble = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    assert not [event for event in chromium.events if event["method"] in trouble]
    assert chromium.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert chromium.value("document.images.length") > 20


def test_any_picture_can_be_brought_on_the_stage(chromium, page):
    chromium.open(page, 1280)
    widths = "[...document.querySelectorAll('.view')].map(v => Math.round(v.offsetWidth))"
    first = chromium.value(widths)
    assert first[0] > 1200 and max(first[1:]) < 200
    chromium.value("document.querySelectorAll('.view')[2].click()")
    second = chromium.value(widths)
    assert second[2] == first[0] and second[0] == first[2]


@pytest.mark.parametrize("width", [390, 1280])
def test_it_follows_the_system_s_light(chromium, page, width):
    def brightness(dark):
        chromium.open(page, width, dark)
        chromium.value("document.querySelector('#scores').scrollIntoView()")
        return np.asarray(Image.open(io.BytesIO(chromium.screenshot())).convert("L")).mean()

    assert brightness(dark=False) > 180
    assert brightness(dark=True) < 60


def test_the_stage_shows_the_labels_at_large(chromium, page):
    chromium.open(page, 1280)
    picture = Image.open(io.BytesIO(chromium.screenshot())).convert("RGB")
    assert chromium.value("document.images[0].getBoundingClientRect().top") < 300
    sky = 0.55 * np.array(DELIVER.colours[DELIVER.classes.index("Sky")]) + 0.45 * 127
    seen = np.asarray(picture)[420:520, 100:1100].reshape(-1, 3).mean(0)
    np.testing.assert_allclose(seen, sky, atol=25)
