"""What people do on pages: with keys alone, with forms, and with many runs at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.browser.conftest import Shop

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[[str], "Page"]


def test_a_dead_run_is_retried_with_keys_alone(shop: Shop, visit: Visit, expect: Any) -> None:
    page = visit("/")
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page.locator("main h1")).to_have_text("Runs")
    page.goto(page.url + "?state=dead&workflow=fails")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("main h1")).to_contain_text("dead")
    shop.project.note_retry()
    page.keyboard.press("r")
    expect(page.locator("#toast")).to_have_text("The run is in the queue again.")
    page.keyboard.press("u")
    expect(page.locator("main h1")).to_have_text("Runs")


def test_selected_runs_are_discarded_after_a_question(shop: Shop, visit: Visit, expect: Any) -> None:
    page = visit("/runs?state=dead&workflow=fails")
    boxes = page.locator("td.pick input")
    expect(page.get_by_role("button", name="Discard", exact=True)).to_be_disabled()
    boxes.nth(0).click()
    boxes.nth(2).click(modifiers=["Shift"])
    expect(page.locator("[data-selected]")).to_have_text("3 selected")
    page.get_by_role("button", name="Discard", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Discard the selected runs?")
    dialog.get_by_role("button", name="Keep it as it is").click()
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Discard", exact=True).click()
    dialog.get_by_role("button", name="Discard").click()
    expect(page.locator("#toast")).to_have_text("3 runs: discarded.")
    expect(page.locator("[data-selected]")).to_have_text("0 selected")


def test_all_runs_of_an_error_are_retried_from_a_dialog_and_end_in_the_activity(shop: Shop, visit: Visit, expect: Any) -> None:
    page = visit(shop.paths["error"])
    page.get_by_role("link", name="Retry 1 dead run").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Retry 1 run?")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("link", name="Retry 1 dead run").click()
    shop.project.note_retry()
    dialog.get_by_role("button", name="Retry 1 run").click()
    expect(page.locator("main h1")).to_have_text("bulk retry")
    expect(page.locator(".lead")).to_contain_text("Done: 1 of 1 run changed.", timeout=10_000)


def test_a_signal_is_sent_from_the_page(shop: Shop, visit: Visit, expect: Any) -> None:
    id = shop.project.enqueue("order", {"number": 8})
    shop.project.wait_for_state(id, "waiting")
    page = visit("/signals")
    row = page.locator("tr", has_text="approval:8")
    row.locator("input[type=text]").fill('{"by": "ann"}')
    row.get_by_role("button", name="Send").click()
    expect(page.locator("#toast")).to_contain_text("approval:8 is stored; it woke 1 run.")
    assert shop.project.wait(id)["state"] == "succeeded"
    expect(row).to_have_count(0)


def test_the_filter_completes_words_and_leaves_runs_out(visit: Visit, expect: Any) -> None:
    page = visit("/runs")
    page.keyboard.press("/")
    page.keyboard.type("state:dead -workflow:fa")
    expect(page.locator("#words option")).to_have_count(1)
    assert page.evaluate("() => document.querySelector('#words option').value") == "state:dead -workflow:fails"
    page.keyboard.type("ils")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("hostile")
    expect(page.locator("#filter")).to_have_value("-workflow:fails")
    expect(page.locator(".tabs [aria-current]")).to_contain_text("dead")


def test_help_lists_the_keys_and_can_switch_them_off(visit: Visit, expect: Any) -> None:
    page = visit("/groups")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("next row")
    dialog.get_by_label("Keys are on").uncheck()
    dialog.get_by_role("button", name="Close").click()
    page.keyboard.press("/")
    expect(page.locator("#search")).not_to_be_focused()
    page.keyboard.press("?")
    dialog.get_by_label("Keys are on").check()
    dialog.get_by_role("button", name="Close").click()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()


def test_the_theme_and_the_zone_of_times_are_chosen_and_the_theme_is_kept(visit: Visit, expect: Any) -> None:
    page = visit("/runs")
    button = page.locator("[data-control=theme]")
    button.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    button.click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.locator("[data-control=theme]").click()
    expect(page.locator("html")).not_to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="show UTC").click()
    moment = page.locator("td time").first
    assert str(moment.get_attribute("datetime"))[11:19] in str(moment.text_content())


def test_charts_are_drawn_from_their_table(shop: Shop, visit: Visit, expect: Any) -> None:
    page = visit("/?range=8h")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1200, "height": 800})
    if page.locator("#chart-data td[data-value='1']").count():
        expect(page.locator(".plot canvas")).to_have_count(3)
    page.get_by_text("Numbers").click()
    expect(page.locator("#chart-data tbody tr")).to_have_count(96)
