"""The report in a real browser, Debian's Chromium: what a person sees, clicks and hears."""

import os
import shutil

import numpy as np
import pytest

from l4f_datagen.report.pages import write_report
from l4f_datagen.report.records import read_records

pytestmark = pytest.mark.slow
OFF = ("gpu", "quic", "background-networking", "component-update", "sync")
FLAGS = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in OFF)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = os.environ.get("L4F_CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium here: apt-get install chromium, or name one in L4F_CHROMIUM")
    with api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=chromium, args=FLAGS, headless=True
        )
        yield context
        context.close()


@pytest.fixture
def page(browser):
    """A page whose console must stay silent and which may ask for nothing but its own file."""
    page = browser.new_page()
    page.set_default_timeout(120_000)  # a busy machine is no failure
    noise, asked = [], []
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    page.close()
    assert noise == []
    strangers = [url for url in asked if not url.startswith(("data:", "file:"))]
    assert strangers == []
    assert len([url for url in asked if url.startswith("file:")]) <= 1


@pytest.fixture
def opened(page, disc_dataset, trained):
    def open_report(width=1280, scheme="light", **options):
        made = disc_dataset(30, **({"keep_rejected": True} | options))
        records = read_records(made.folder)
        file = made.folder / "report.html"
        origin, preview = trained
        file.write_bytes(write_report(made.folder, origin, records, preview=preview))
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.goto(file.as_uri())
        return page, records

    return open_report


def keys(page, status="accepted"):
    return page.eval_on_selector_all(
        f"#{status} .card", "cards => cards.map(card => card.dataset.key)"
    )


def keys_of(records, chosen, by=None):
    """Keys of chosen samples: a set, or a list in the order of ``by``."""
    places = np.flatnonzero(chosen)
    if by is None:
        return {records.key(i) for i in places}
    return [records.key(i) for i in places[np.argsort(by[places], kind="stable")]]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_loads_fits_its_width_and_axe_finds_nothing_serious(opened, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not here")
    page, _ = opened(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for summary in page.locator("summary").all():
        summary.click()
    found = axe.Axe().run(page).response["violations"]
    page.locator(".card").first.click()
    found += axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


def test_all_samples_are_shown_worst_first_rejected_beside_accepted(opened):
    page, records = opened()
    accepted, worst = records.accepted, records.worst()
    assert set(keys(page)) == keys_of(records, accepted)
    assert set(keys(page, "rejected")) == keys_of(records, ~accepted)
    ranks = {records.key(i): round(worst[i], 4) for i in range(len(records))}
    for status in ("accepted", "rejected"):
        shown = [ranks[key] for key in keys(page, status)]
        assert shown == sorted(shown, reverse=True)
    left, right = (page.locator(f"#{name}").bounding_box() for name in ("accepted", "rejected"))
    assert left["x"] + left["width"] <= right["x"]
    assert abs(left["y"] - right["y"]) < 2


def test_filters_really_change_what_is_shown(opened):
    page, records = opened()
    accepted = records.accepted
    page.locator("label", has=page.locator("input[name=psi][value='0.5']")).click()
    assert set(keys(page)) == keys_of(records, accepted & (records.psi == 1.0))
    page.click("button[type=reset]")
    page.locator("#accepted .card").nth(29).wait_for(state="attached")  # the whole first page again
    assert page.locator("#accepted .card").count() == 30

    page.locator("label", has=page.locator("input[name=status][value=accepted]")).click()
    assert page.locator("#accepted").is_hidden()
    page.select_option("[name=reason]", "coverage_low")
    low = records.reason == records.reasons.index("coverage_low")
    assert set(keys(page, "rejected")) == keys_of(records, low)
    page.click("button[type=reset]")

    page.select_option("[name=score]", "coverage")
    page.fill("[name=low]", "0.1")
    page.fill("[name=high]", "0.15")
    inside = (records.scores["coverage"] >= 0.1) & (records.scores["coverage"] <= 0.15)
    assert set(keys(page)) == keys_of(records, accepted & inside)
    assert set(keys(page, "rejected")) == keys_of(records, ~accepted & inside)
    total = int(inside.sum())
    assert page.inner_text("#count") == f"{total} of {len(records)} samples fit."
    assert 0 < total < len(records)


def test_sorting_really_changes_the_order(opened):
    page, records = opened()
    values = records.scores["alpha_uncertainty"]
    page.select_option("[name=score]", "alpha_uncertainty")
    falling = keys_of(records, records.accepted, -values)
    assert keys(page) == falling  # the worst are the highest
    page.select_option("[name=order]", "low")
    assert keys(page) == falling[::-1]
    page.select_option("[name=order]", "high")
    assert keys(page) == falling
    page.select_option("[name=order]", "plan")
    assert keys(page) == keys_of(records, records.accepted, records.image_id)


def test_views_show_outline_overlay_cut_out_and_alpha(opened):
    page, _ = opened()
    card = page.locator("#accepted .card").first
    seen = set()
    for view in ("outline", "overlay", "cutout", "alpha", "image"):
        page.locator("label", has=page.locator(f"input[value={view}]")).click()
        seen.add(page.locator("#accepted .card .pic").first.screenshot())
    assert len(seen) == 5
    assert card.locator("img").evaluate("image => image.naturalWidth") == 16


def test_a_click_opens_the_sample_and_keys_lead_on(opened):
    page, records = opened()
    first, second = keys(page)[:2]
    page.locator(f"[data-key='{first}']").focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog").is_visible()
    assert page.inner_text("#sample-title") == first
    assert page.inner_text("#command") == f"l4f-datagen inspect sample . {first} --out ../again"
    assert page.locator("#views figure").count() == 2
    assert page.evaluate("location.hash") == f"#{first}"
    links = page.eval_on_selector_all("#sample-size a", "all => all.map(a => a.href)")
    assert [link.rpartition("/")[2] for link in links] == [f"{first}.png"] * 3
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#sample-title") == second
    row = page.locator("#score-rows tr", has_text="alpha uncertainty").locator("td").first
    place = next(i for i in range(len(records)) if records.key(i) == second)
    assert float(row.inner_text()) == records.scores["alpha_uncertainty"][place]
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.evaluate("document.activeElement.dataset.key") == second


def test_the_slider_blends_image_matte_mask_and_cut_out(opened):
    page, _ = opened()
    page.locator("#accepted .card").first.click()
    seen = set()
    for at, word in enumerate(("image", "alpha", "mask", "cutout")):
        page.locator("#blend").fill(str(at))
        assert page.locator("#blend").get_attribute("aria-valuetext") == word
        seen.add(page.locator("#stack").screenshot())
    assert len(seen) == 4
    title = page.inner_text("#sample-title")
    page.locator("#blend").press("ArrowLeft")  # moves the slider, not to another sample
    assert page.inner_text("#sample-title") == title
    assert float(page.locator("#blend").input_value()) < 3


def test_an_address_opens_its_sample_and_arrows_go_through_the_gallery(opened):
    page, _ = opened()
    first, second, *_, last = keys(page)
    page.evaluate("limits.accepted = 5; draw()")
    page.evaluate(f"location.hash = '{last}'")
    page.locator("dialog[open]").wait_for()
    assert page.inner_text("#sample-title") == last
    page.keyboard.press("Escape")
    page.locator(f"[data-key='{first}']").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.key") == second
    page.evaluate("location.hash = 'no-such-key'")
    assert not page.locator("dialog").is_visible()


def test_rejected_samples_without_pictures_still_open(opened):
    page, _ = opened(keep_rejected=False)
    card = page.locator("#rejected .card").first
    assert card.locator("img").count() == 0
    card.click()
    assert "was not kept" in page.inner_text("#views")
    assert "inspect sample" in page.inner_text("#command")


def test_long_lists_grow_on_demand(opened, monkeypatch):
    page, _ = opened()
    page.evaluate("limits.accepted = 5; draw()")
    assert len(keys(page)) == 5
    page.click("#accepted .more button")
    assert len(keys(page)) == 30
    assert page.locator("#accepted .more button").is_hidden()
