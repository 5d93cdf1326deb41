"""The page as its readers use it, in a headless Chromium: mouse, keyboard, links, sound, both themes, wide and narrow."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusion_encoders.video_writing import write_video
from fusion_eval.schemas import read_manifest, write_manifest
from fusion_report.page import Limits, write_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.browser]

WIDE, NARROW = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
VIEWS = ("results", "charts", "clips", "about")
HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\"> a dog"
RIGHT_TO_LEFT = "\u202eينبح كلب ثم يهطل المطر 🐕🌧️ \u0001 bell"


def chromium() -> str | None:
    """Return a Chromium of the system, or that of Playwright; None where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return shutil.which(name)
    with playwright.sync_playwright() as driver:
        own = driver.chromium.executable_path
    return own if Path(own).is_file() else None


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests; it may play without a click and sends its sound nowhere."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here; apt install chromium, or playwright install chromium")
    arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=path, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Any, page: Path) -> Callable[..., Any]:
    """Open the page in a tab of its own; leaving it fails on any error of the console and on anything loaded."""

    @contextmanager
    def opened(
        address: str = "", path: Path = page, viewport: dict[str, int] = WIDE, scheme: str = "light"
    ) -> Iterator[Any]:
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        context.set_default_timeout(60_000)
        tab = context.new_page()
        troubles: list[str] = []
        loaded: list[str] = []
        tab.on("console", lambda message: troubles.append(message.text) if message.type != "log" else None)
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("request", lambda request: loaded.append(request.url))
        tab.goto(f"{path.as_uri()}{address}")
        tab.wait_for_selector("html[data-ready=true]")
        yield tab
        outside = [url for url in loaded if not url.startswith((path.as_uri(), "blob:", "data:"))]
        context.close()
        assert troubles == []
        assert [url for url in outside if not url.startswith(path.parent.parent.as_uri())] == []

    return opened


def eventually(tab: Any, expression: str) -> None:
    """Wait until an expression is true, asked from outside: the policy of the page forbids what Playwright would inject."""
    for _ in range(600):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(100)
    raise AssertionError(f"never true: {expression}")


def listed(tab: Any) -> list[str]:
    return tab.locator("#list .name").all_inner_texts()


def test_results_come_first_and_their_columns_sort(visit):
    with visit() as tab:
        assert tab.locator("h1:visible").inner_text() == "a small study"
        assert tab.locator(".tiles .value").first.inner_text().count(".") == 1
        table = tab.locator("table.sortable:visible").first
        assert table.locator("tbody th").first.inner_text() == "additive"
        head = tab.get_by_role("button", name="CIDEr-D").first
        values = "table => [...table.tBodies[0].rows].map(row => row.cells[2].dataset.value ?? null)"
        for act, descending in ((head.click, True), (lambda: head.press("Enter"), False)):
            act()
            found = table.evaluate(values)
            assert found[-2:] == [None, None]  # concat and hybrid have no value: they stay at the end
            numbers = [float(value) for value in found[:-2]]
            assert len(numbers) == 4
            assert numbers == sorted(numbers, reverse=descending)
        note = tab.locator("td.empty sup a").first
        note.click()
        tab.locator("#view-results").wait_for(state="visible")
        assert tab.locator(".notes li:target").count() == 1


def test_clips_are_searched_filtered_and_sorted(visit):
    with visit("#clips") as tab:
        eventually(tab, "document.querySelectorAll('#list li').length === 8")
        tab.keyboard.press("/")
        eventually(tab, "document.activeElement.id === 'query'")
        tab.keyboard.type('"church bell rings and then"')
        eventually(tab, "document.querySelectorAll('#list li').length < 8")
        assert tab.locator("#count").inner_text() == f"{len(listed(tab))} of 8 clips"
        tab.get_by_role("button", name="Clear").click()
        eventually(tab, "document.querySelectorAll('#list li').length === 8")
        tab.locator("#refine").evaluate("element => { element.open = true; }")
        tab.locator("#kind").select_option("held out")
        eventually(tab, "document.querySelectorAll('#list li').length === 4")
        assert listed(tab) == [f"test-0000{number}" for number in (0, 2, 4, 6)]
        tab.locator("#audible").check()
        eventually(tab, "document.querySelectorAll('#list li').length === 3")
        assert listed(tab) == [f"test-0000{number}" for number in (0, 2, 4)]
        tab.locator("#order").select_option("best")
        scores = [float(text) for text in tab.locator("#list .score").all_inner_texts()]
        assert scores == sorted(scores, reverse=True)
        tab.locator("#order").select_option("worst")
        assert [float(text) for text in tab.locator("#list .score").all_inner_texts()] == scores[::-1]
        tab.reload()
        tab.wait_for_selector("html[data-ready=true]")
        assert tab.locator("#order").input_value() == "worst"  # the address keeps it
        eventually(tab, "document.querySelectorAll('#list li').length === 3")
        tab.locator("#query").fill("no clip says this")
        tab.get_by_text("No clip fits the search and the filters.").wait_for(state="visible")


def test_a_link_opens_its_clip_and_keys_go_on(visit):
    with visit("#clip=test-00002") as tab:
        assert tab.locator("#clip h2").inner_text() == "test-00002"
        assert tab.locator("#list a[aria-current]").locator(".name").inner_text() == "test-00002"
        assert tab.locator("#place").inner_text() == "3 of 8"
        for key, number in (("j", 3), ("ArrowRight", 4), ("k", 3), ("ArrowLeft", 2)):
            tab.keyboard.press(key)
            eventually(tab, f"document.querySelector('#clip h2').textContent === 'test-0000{number}'")
        assert tab.evaluate("location.hash") == "#clip=test-00002"
        tab.go_back()
        eventually(tab, "document.querySelector('#clip h2').textContent === 'test-00003'")
        tab.get_by_role("button", name="Next clip").click()
        eventually(tab, "document.querySelector('#clip h2').textContent === 'test-00004'")
        tab.keyboard.press("1")
        tab.locator("#view-results").wait_for(state="visible")  # drawn once the address has changed
    with visit("#clip=no-such-clip") as tab:
        assert tab.get_by_text("There is no clip no-such-clip").is_visible()


def test_a_clip_shows_all_that_is_known_and_said(visit):
    with visit("#clip=test-00000") as tab:
        clip = tab.locator("#clip")
        assert clip.locator(".references li").count() == 3
        assert clip.locator(".lane .label").all_inner_texts() == ["dog barking × 2", "rain"]
        assert clip.locator(".said:visible header b").all_inner_texts()[:2] == ["additive", "additive"]
        assert clip.locator(".said:visible .scores dt").first.inner_text() == "CIDEr-D"
        assert clip.locator(".said .shared").count() > 0
        tab.get_by_text("mark words that a reference has").click()
        assert clip.locator(".said .shared").count() == 0
        clip.locator(".candidates summary").first.click()
        table = clip.locator(".candidates table").first
        assert table.locator("thead th").all_inner_texts() == ["candidate", "log-prob.", "similarity"]
        assert table.locator("tbody tr").count() == 3
        assert table.locator("tr.chosen").count() == 1
        clip.get_by_text("Controls (").click()
        clip.get_by_text("shuffled audio").first.wait_for(state="visible")
    with visit("#clip=test-00005") as tab:
        assert tab.locator("#clip").get_by_text("The file is corrupt (cut off).").is_visible()
        assert tab.locator("#clip audio").count() == 0


def test_a_clip_plays_and_its_picture_is_painted(visit):
    with visit("#clip=test-00001") as tab:
        eventually(tab, "document.querySelector('#clip audio').duration > 1.8")
        distinct = tab.evaluate(
            "() => { const c = document.querySelector('#clip canvas');"
            "return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size; }"
        )
        assert distinct > 20
        tab.locator("#main").focus()
        tab.keyboard.press("Space")
        eventually(tab, "document.querySelector('#clip audio').currentTime > 0.1")
        assert tab.locator("#clip .playhead").is_visible()
        tab.keyboard.press("Space")
        assert tab.evaluate("document.querySelector('#clip audio').paused")
        stage = tab.locator("#clip .stage")
        box = stage.bounding_box()
        stage.click(position={"x": box["width"] * 0.5, "y": 20})
        assert tab.evaluate("document.querySelector('#clip audio').currentTime") == pytest.approx(1.0, abs=0.6)
        tab.keyboard.press("1")
        eventually(tab, "document.querySelector('#clip audio').paused")  # what is not seen is not heard


def test_charts_are_drawn_and_answer(visit):
    with visit("#charts") as tab:
        for name in ("scores", "controls", "curves", "gates", "stability", "clips"):
            tab.wait_for_selector(f"#chart-{name} svg")
        bars = tab.locator("#chart-controls svg")
        before = bars.inner_html()
        tab.locator(".chart", has_text="What remains").get_by_label("metric").select_option("event-F1")
        eventually(tab, f"document.querySelector('#chart-controls svg')?.innerHTML.length !== {len(before)}")
        tab.locator("#chart-clips svg .mark-symbol path").last.hover()
        tab.wait_for_selector("#vg-tooltip-element.visible")
        assert "test-0000" in tab.locator("#vg-tooltip-element").inner_text()
        tab.locator("#chart-clips svg .mark-symbol path").last.click()
        tab.wait_for_selector("#clip h2")
        assert "#clip=test-0000" in tab.evaluate("location.hash")


def test_hostile_texts_are_shown_and_not_executed(visit, make_study, set_captions, tmp_path, measuring):
    files = make_study()
    set_captions(files, "additive-s0", {0: HOSTILE, 1: RIGHT_TO_LEFT, 2: "rain " * 1000})
    out = tmp_path / "report" / "index.html"
    write_page(files.results, out, [files.dataset], measuring=measuring)
    with visit("#clip=test-00000", out) as tab:
        caption = tab.locator("#clip .said .caption").first
        assert caption.text_content() == HOSTILE
        assert HOSTILE in tab.locator("#list .text").all_inner_texts()
        assert tab.locator("#clip img, #clip script, #list img, #list script").count() == 0
        tab.keyboard.press("j")
        eventually(tab, "document.querySelector('#clip h2').textContent === 'test-00001'")
        assert tab.locator("#clip .said .caption").first.text_content() == RIGHT_TO_LEFT
        tab.keyboard.press("j")
        eventually(tab, "document.querySelector('#clip h2').textContent === 'test-00002'")
        long = tab.locator("#clip .said .caption").first
        assert len(long.text_content()) < 700
        long.get_by_role("button", name="show all 5,000 characters").click()
        assert long.text_content() == "rain " * 1000
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        tab.goto(f"{out.as_uri()}#charts")
        tab.wait_for_selector("#chart-clips svg")
        for point in tab.locator("#chart-clips svg .mark-symbol path").all()[:8]:
            point.hover(force=True)
        assert tab.locator("#vg-tooltip-element img, #vg-tooltip-element script").count() == 0
        assert tab.title() == "a small study: results"


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("view", VIEWS)
def test_no_view_is_wider_than_the_screen(visit, view, viewport):
    with visit(f"#{view}", viewport=viewport) as tab:
        if view == "charts":
            tab.wait_for_selector("#chart-clips svg")
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_narrow_screen_has_the_list_or_the_clip(visit):
    with visit("#clips", viewport=NARROW) as tab:
        assert tab.locator("#list").is_visible()
        assert not tab.locator("#clip").is_visible()
        tab.locator("#list a").nth(2).click()
        eventually(tab, "document.querySelector('#clip h2').textContent === 'test-00002'")
        assert not tab.locator("#list").is_visible()
        tab.get_by_role("button", name="Back to the list").click()
        tab.locator("#list").wait_for(state="visible")


def test_the_theme_follows_the_system_until_one_is_chosen(visit):
    def paper(tab: Any) -> str:
        return tab.evaluate("getComputedStyle(document.body).backgroundColor")

    with visit(scheme="light") as tab:
        light = paper(tab)
    with visit(scheme="dark") as tab:
        dark = paper(tab)
        assert dark != light
        tab.get_by_role("button", name="Auto").click()
        assert paper(tab) == light
        tab.reload()
        tab.wait_for_selector("html[data-ready=true]")
        assert paper(tab) == light
        tab.keyboard.press("t")
        assert paper(tab) == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", [*VIEWS, "clip=test-00000"])
def test_nothing_is_hard_to_reach(visit, view, scheme):
    """What axe-core finds of WCAG 2 A and AA: names, roles, contrast, keyboard."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    with visit(f"#{view}", scheme=scheme) as tab:
        if view == "charts":
            tab.wait_for_selector("#chart-clips svg")
        tab.wait_for_timeout(300)
        # the policy of the page forbids foreign scripts in it; the inspector's own world is not bound by it
        found = axe.run(tab, options={"runOnly": ["wcag2a", "wcag2aa"]}).response["violations"]
    said = [
        (one["id"], node["html"][:160], node.get("failureSummary", "")[:200]) for one in found for node in one["nodes"]
    ]
    assert said == []


def test_a_clip_without_room_plays_from_its_file_while_that_is_there(visit, make_study, tmp_path, measuring):
    files = make_study()
    out = tmp_path / "report" / "index.html"
    write_page(files.results, out, [files.dataset], Limits(media_bytes=0), measuring=measuring)
    with visit("#clip=test-00000", out) as tab:
        eventually(tab, "document.querySelector('#clip audio').duration > 1.8")
        assert tab.locator("#clip").get_by_text("Not embedded: the limit of 0 MB").is_visible()


def test_a_clip_of_video_plays_and_is_heard(visit, make_study, tmp_path, measuring):
    pytest.importorskip("av")
    files = make_study()
    rows = read_manifest(files.dataset / "manifest.parquet")
    place = "audio/test/clip.mp4"
    frames = np.random.default_rng(0).integers(0, 255, size=(16, 64, 64, 3), dtype=np.uint8)
    tone = np.sin(np.arange(2 * 16_000) * 0.1).astype(np.float32)
    write_video(files.dataset / place, frames, np.arange(16) / 8, tone, 16_000)
    rows[0] = rows[0].model_copy(update={"path": place})
    write_manifest(files.dataset / "manifest.parquet", rows)
    out = tmp_path / "index.html"
    write_page(files.results, out, [files.dataset], measuring=measuring)
    with visit("#clip=test-00000", out) as tab:
        film = "document.querySelector('#clip video')"
        eventually(tab, f"{film}.videoWidth === 64 && {film}.duration > 1.8")
        tab.locator("#main").focus()
        tab.keyboard.press("Space")
        eventually(tab, f"{film}.currentTime > 0.1 && {film}.webkitAudioDecodedByteCount > 0")
        tab.keyboard.press("Space")
        assert tab.evaluate(f"{film}.paused")


def test_questions_about_a_clip_are_shown_with_what_a_run_answered(
    visit, make_study, put_questions, tmp_path, measuring
):
    files = make_study()
    put_questions(files, "cross-attention-s0")
    out = tmp_path / "index.html"
    write_page(files.results, out, [files.dataset], measuring=measuring)
    with visit("#clip=test-00000", out) as tab:
        clip = tab.locator("#clip")
        assert clip.get_by_text("Which colour is it? <i>0</i>").first.is_visible()
        assert clip.locator(".questions .tag").all_inner_texts() == ["needs sight"] * 2
        answers = clip.locator("details.answers")
        assert answers.locator("summary").all_inner_texts() == ["1 of 2 questions answered rightly"]
        answers.locator("summary").click()
        assert answers.locator(".mark").all_inner_texts() == ["✓", "✗"]
    with visit("#clip=test-00001", out) as tab:
        assert tab.locator("#clip .questions, #clip .answers").count() == 0


def test_a_browser_that_cannot_unpack_says_so_and_shows_the_tables(browser, page):
    context = browser.new_context()
    context.add_init_script("delete window.DecompressionStream")
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.wait_for_selector("#trouble:not([hidden])")
    assert "cannot unpack gzip" in tab.locator("#trouble").inner_text()
    assert tab.locator("table tbody tr").first.is_visible()
    context.close()


def test_without_scripts_every_table_is_there(browser, page):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert tab.get_by_text("cross-attention").first.is_visible()
    assert tab.get_by_text("What is left out").is_visible()
    context.close()
