"""Pages of reports in headless Chromium: what a person sees, does, and what leaves the page.

The tests skip where Playwright or a Chromium is not installed; ``ZOOALIGN_BROWSER`` names another
executable. Accessibility is checked by axe-core, which axe-playwright-python carries.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from report_contents import HOSTILE, connected, release

from zooalign.report.content import Content
from zooalign.report.html import render

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

_NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDE, NARROW = (1600, 1000), (360, 740)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = os.environ.get("ZOOALIGN_BROWSER") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip(f"no browser is installed: none of {', '.join(_NAMES)}")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@dataclass
class Opened:
    """A page in the browser, with what it complained of and what it asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@dataclass
class Opener:
    """Opens pages; each is held to ask for nothing but itself and to complain of nothing."""

    browser: Any
    folder: Path
    opened: list[Opened] = field(default_factory=list)

    def __call__(
        self, content: Content, size: tuple[int, int] = WIDE, scheme: str = "light"
    ) -> Any:
        path = self.folder / f"page-{len(self.opened)}.html"
        path.write_text(render(content))
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
        )
        page = context.new_page()
        one = Opened(page)
        page.on("console", lambda message: one.complaints.append(message.text))
        page.on("pageerror", lambda error: one.complaints.append(str(error)))
        page.on("request", lambda request: one.requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("section")
        self.opened.append(one)
        return page


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Opener]:
    opener = Opener(browser, tmp_path)
    yield opener
    for one in opener.opened:
        assert one.complaints == []
        assert len(one.requests) == 1, one.requests
        one.page.context.close()


@pytest.mark.parametrize(
    ("content", "size", "scheme"),
    [
        (release(), WIDE, "light"),
        (release(), NARROW, "dark"),
        (connected(), NARROW, "light"),
        (connected(), WIDE, "dark"),
    ],
    ids=["release-wide-light", "release-narrow-dark", "pairs-narrow-light", "pairs-wide-dark"],
)
def test_readable(show: Opener, content: Content, size: tuple[int, int], scheme: str) -> None:
    """No text is wider than the page, and axe-core finds nothing, with everything unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core").Axe()
    page = show(content, size, scheme)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    violations = axe.run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations] == []


def test_the_verdict_comes_first(show: Opener) -> None:
    page = show(release(), NARROW)
    verdict = page.locator(".verdict")
    assert "The gate fails" in verdict.inner_text() and "1 error" in verdict.inner_text()
    box = verdict.bounding_box()
    assert box["y"] + box["height"] < NARROW[1]  # without scrolling
    assert "not finite" in page.locator("#gate .findings").inner_text()
    links = page.locator("nav a").all_inner_texts()
    assert links == [
        *("At a glance", "Gate", "Barriers", "What moved", "Symmetries", "Layer graph", "Frozen"),
        "Provenance",
    ]
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1


def test_curves_are_read_by_pointer_and_by_keyboard(show: Opener) -> None:
    page = show(release())
    chart = page.get_by_role("slider", name="Error")
    chart.hover(position={"x": 300, "y": 100})
    readout = page.locator("#curves .readout").first
    assert "at 0.500" in readout.inner_text() and "as they are 0.500" in readout.inner_text()
    chart.focus()
    page.keyboard.press("Home")
    assert chart.get_attribute("aria-valuenow") == "0"
    assert "as they are 0.100" in chart.get_attribute("aria-valuetext")
    page.get_by_role("button", name="as they are").first.click()
    page.keyboard.press("Tab")
    chart.focus()
    assert "as they are" not in chart.get_attribute("aria-valuetext")


def test_the_simplex_is_read_by_keyboard(show: Opener) -> None:
    page = show(connected())
    triangle = page.get_by_role("slider", name="Averages of models")
    triangle.focus()
    first = triangle.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowUp")
    assert triangle.get_attribute("aria-valuetext") != first
    assert "error" in page.locator("#connectivity .readout").last.inner_text()
    assert page.get_by_role("slider").count() == 5  # two lines, the triangle, two trajectories


def test_a_layer_is_chosen_panned_and_searched(show: Opener) -> None:
    content = release()
    assert content.graph is not None
    page = show(content)
    layers = page.locator("#layers")
    layers.get_by_label("Layer", exact=True).fill("2.conv")
    layers.get_by_label("Layer", exact=True).press("Enter")
    assert "1 operator in 2.conv" in layers.get_by_role("status").inner_text()
    assert layers.locator("h3").first.inner_text() == "conv2d_3"
    before = layers.locator(".board svg > g").get_attribute("transform")
    layers.locator(".board svg").focus()
    page.keyboard.press("ArrowRight")
    panned = layers.locator(".board svg > g").get_attribute("transform")
    page.keyboard.press("+")
    zoomed = layers.locator(".board svg > g").get_attribute("transform")
    page.keyboard.press("0")
    assert len({before, panned, zoomed}) == 3
    assert layers.locator(".board svg > g").get_attribute("transform") == before
    layers.get_by_label("Search in the picture").fill("batch_norm")
    layers.locator(".node.faint").first.wait_for(state="attached")
    assert "1 operator with" in layers.get_by_role("status").inner_text()
    layers.locator(".node:not(.faint) .frame").first.click()
    assert layers.locator("h3").first.inner_text() == "batch_norm_1"
    layers.get_by_role("button", name="Next").click()
    assert "2.bn" in layers.get_by_label("Layer", exact=True).input_value()


def test_groups_and_frozen_axes_are_found_by_name(show: Opener) -> None:
    page = show(release())
    structure = page.locator("#structure")
    structure.get_by_label("Search").fill("1.conv.weight")
    structure.locator(".lane.faint").first.wait_for(state="attached")
    assert "group" in structure.get_by_role("status").inner_text()
    structure.locator(".lane:not(.faint) rect").first.click()
    assert "1.conv.weight" in structure.locator(".panel").inner_text()
    frozen = page.locator("#frozen")
    frozen.get_by_label("Search").fill("4.weight")
    frozen.get_by_text("with “4.weight”").wait_for()
    assert "output" in frozen.locator("table").last.inner_text()


def test_the_theme_is_chosen(show: Opener) -> None:
    page = show(release())
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    button = page.get_by_role("button", name="Theme")
    button.click()
    assert page.evaluate(paper) == light
    button.click()
    assert page.evaluate(paper) != light and "dark" in button.inner_text()


@pytest.mark.parametrize(
    "content", [release(HOSTILE), connected(HOSTILE)], ids=["release", "pairs"]
)
def test_a_strangers_name_is_text(show: Opener, content: Content) -> None:
    page = show(content, NARROW)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.wait_for_timeout(100)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0 and page.locator("main script").count() == 0
    assert "onerror=window.hacked" in page.locator("body").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]


def test_without_scripts_a_page_says_what_it_is(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(render(release()))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert "org/model: the gate fails" in page.locator("body").inner_text()
    context.close()
