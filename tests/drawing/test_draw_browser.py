"""The page in headless Chromium: click, search, zoom, keys, a phone's screen, no errors.

Deselected unless asked for, because it needs a browser: ``python -m pytest -m browser``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_np as tg
from models.three_layer import ThreeLayer

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    model = ThreeLayer(rng=0)
    with tg.record():
        loss = model.loss(rng.random((20, 784), dtype=np.float32), rng.integers(0, 10, 20))
        loss.backward()
    path = tmp_path_factory.mktemp("page") / "graph.html"
    tg.draw(loss, names=model).to_html(path)
    return path


@pytest.fixture
def opened(chromium: Any, page: Path) -> Iterator[Any]:
    chromium.set_window_size(1300, 800)
    chromium.get(page.as_uri())
    yield chromium
    assert chromium.get_log("browser") == [], "the console must stay empty"


def node(browser: Any, label: str) -> Any:
    return browser.find_element("css selector", f'g.node[aria-label="{label}"]')


def panel(browser: Any) -> str:
    return str(browser.find_element("id", "panel").text)


def view(browser: Any) -> list[float]:
    box = browser.find_element("css selector", "#graph svg").get_dom_attribute("viewBox")
    return [float(number) for number in box.split()]


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def test_a_click_shows_the_figures(opened: Any) -> None:
    node(opened, "parameter W2").click()
    text = panel(opened)
    assert text.startswith("W2")
    assert "50 × 100" in text
    assert re.search(r"grad\s+\|g\| [\d.e−]+", text)
    bars = opened.find_elements("css selector", ".histogram rect")
    assert len(bars) == 2 * 24, "values and gradient"
    assert len({bar.get_attribute("height") for bar in bars}) > 5
    bright = opened.find_elements("css selector", "g.node.near, g.node.here")
    labels = {group.get_dom_attribute("aria-label") for group in bright}
    assert labels == {"parameter W2", "op matmul"}
    opened.find_element("css selector", "#panel li button").click()  # used by: matmul
    assert panel(opened).startswith("matmul")
    assert "dW2 = xᵀ @ g" in panel(opened)
    assert "dx = g @ W2ᵀ" in panel(opened)


def test_a_click_shows_the_lines_of_the_derivation(chromium: Any, tmp_path: Path) -> None:
    W = tg.Tensor(np.ones((3, 2)), requires_grad=True, name="W")
    derived = tg.derivation(lambda x: tg.tanh(x @ W).sum(), np.ones((4, 3)))
    derived.draw().to_html(tmp_path / "graph.html")
    chromium.get((tmp_path / "graph.html").as_uri())
    node(chromium, "parameter W").click()
    marked = [item.text.strip() for item in chromium.find_elements("css selector", "li.here")]
    assert marked == ["dW = x.T @ delta1"]
    chromium.find_element("css selector", "#panel li button").click()
    marked = [item.text.strip() for item in chromium.find_elements("css selector", "li.here")]
    assert marked == ["a1 = x @ W", "delta1 = 1 - z1 * z1"]
    assert chromium.get_log("browser") == []


def test_a_click_beside_lets_go(opened: Any) -> None:
    from selenium.webdriver import ActionChains

    node(opened, "parameter W1").click()
    svg = opened.find_element("css selector", "#graph svg")
    ActionChains(opened).move_to_element_with_offset(svg, 0, -200).click().perform()
    assert panel(opened).startswith("Graph")
    assert not opened.find_elements("css selector", ".here")


def test_the_right_button_is_the_browsers(opened: Any) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(opened).context_click(node(opened, "parameter W1")).perform()
    assert panel(opened).startswith("Graph")
    whole = view(opened)
    svg = opened.find_element("css selector", "#graph svg")
    ActionChains(opened).move_to_element(svg).move_by_offset(50, 30).perform()
    assert view(opened) == whole, "no button is held down"


def test_search_finds_and_enter_goes_through(opened: Any) -> None:
    press(opened, "/")
    press(opened, "sigmoid")
    assert opened.find_element("id", "count").text == "2 found"
    assert len(opened.find_elements("css selector", "g.node.found")) == 2
    chosen = []
    for _ in range(3):
        press(opened, "\ue007")  # Enter
        chosen.append(opened.find_element("css selector", "g.here").get_attribute("data-key"))
    assert chosen[0] == chosen[2] != chosen[1]
    press(opened, "\ue00c")  # Escape
    assert not opened.find_elements("css selector", ".found, .here")


def test_zoom_and_fit(opened: Any) -> None:
    whole = view(opened)
    opened.find_element("id", "in").click()
    assert view(opened)[2] == pytest.approx(whole[2] * 0.8)
    opened.find_element("id", "out").click()
    opened.find_element("id", "out").click()
    assert view(opened)[2] == pytest.approx(whole[2] * 1.25)
    opened.find_element("id", "fit").click()
    assert view(opened) == whole


def test_the_wheel_zooms_and_a_drag_moves(opened: Any) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    whole = view(opened)
    svg = opened.find_element("css selector", "#graph svg")
    ActionChains(opened).scroll_from_origin(ScrollOrigin.from_element(svg), 0, -100).perform()
    zoomed = view(opened)
    assert zoomed[2] < whole[2]
    drag = ActionChains(opened).move_to_element(svg).click_and_hold()
    drag.move_by_offset(80, 30).release().perform()
    moved = view(opened)
    assert moved[0] < zoomed[0]
    assert moved[1] < zoomed[1]
    assert moved[2:] == zoomed[2:]
    assert panel(opened).startswith("Graph"), "a drag is not a click"


def test_the_keyboard_is_enough(opened: Any) -> None:
    opened.execute_script("arguments[0].focus()", node(opened, "input input"))
    press(opened, "\ue007")
    first = panel(opened).splitlines()[0]
    press(opened, "\ue014")  # right: to what uses it
    assert panel(opened).splitlines()[0] != first
    press(opened, "\ue012")  # left: back to its first input
    assert panel(opened).splitlines()[0] == "input"
    press(opened, "\ue015")  # down: the next one
    assert panel(opened).splitlines()[0] == "W1"
    whole = view(opened)
    press(opened, "+")
    assert view(opened)[2] < whole[2]
    press(opened, "0")
    assert view(opened) == whole


def test_it_fits_a_phone(opened: Any) -> None:
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    opened.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        opened.refresh()
        width = opened.execute_script("return document.documentElement.scrollWidth")
        assert width == 390, "nothing is cut off at the side"
        graph, aside = (opened.find_element("id", name).rect for name in ("graph", "panel"))
        assert aside["y"] >= graph["y"] + graph["height"] - 1, "the figures stand below"
        box = node(opened, "parameter W3").rect
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind, points in (("touchStart", [at]), ("touchEnd", [])):
            opened.execute_cdp_cmd(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
            )
        assert panel(opened).startswith("W3")

        whole = view(opened)
        fingers = [{"x": 150, "y": 200, "id": 0}, {"x": 200, "y": 200, "id": 1}]
        spread = [{"x": 100, "y": 200, "id": 0}, {"x": 250, "y": 200, "id": 1}]
        for kind, points in (("touchStart", fingers), ("touchMove", spread), ("touchEnd", [])):
            opened.execute_cdp_cmd(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
            )
        assert view(opened)[2] < whole[2] / 2, "two fingers zoom"
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        opened.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
