"""The documentation, built by ``make docs``, in headless Chromium: ``pytest -m browser``."""

import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

pytest.importorskip("selenium")
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = pytest.mark.browser

BUILT = Path(__file__).parents[2] / "docs" / "_build" / "html"
PAGES = sorted(
    page.relative_to(BUILT).as_posix()
    for page in BUILT.rglob("*.html")
    if not page.relative_to(BUILT).as_posix().startswith("_")
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the pages are served: the search looks into them, which it may not do in files."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            """Serve a page; of the icon that browsers ask for, say that there is none."""
            if self.path == "/favicon.ico":
                self.send_response(204)
                self.end_headers()
            else:
                super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=BUILT)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_documentation_is_built() -> None:
    assert {"index.html", "faq.html", "tour/mnist.html", "reference/generated/ops.html"} <= {
        *PAGES
    }, "run make docs first"


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    chromium.set_window_size(1280, 900)
    yield chromium
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert chromium.get_log("browser") == [], "the console must stay empty"


def excess(browser: Any, pixels: int) -> int:
    """By how much the page is wider than a screen of so many pixels."""
    metrics = {"width": pixels, "height": 800, "deviceScaleFactor": 1, "mobile": pixels < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page = "document.documentElement"
    return int(browser.execute_script(f"return {page}.scrollWidth - {page}.clientWidth"))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_the_screen_and_its_pictures_load(
    browser: Any, address: str, page: str
) -> None:
    browser.get(f"{address}/{page}")
    WebDriverWait(browser, 20).until(
        lambda b: b.find_elements("css selector", "h1, #search-results")
    )
    assert excess(browser, 1280) == 0
    assert excess(browser, 390) == 0
    sizes = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert 0 not in sizes


def test_the_search_finds_conv2d(browser: Any, address: str) -> None:
    browser.get(f"{address}/search.html?q=conv2d")
    found = WebDriverWait(browser, 20).until(
        lambda b: b.find_elements("css selector", "#search-results li a")
    )
    links = [str(link.get_attribute("href")) for link in found]
    assert any(link.endswith("ops_convolution.html#tinygrad_np.conv2d") for link in links)


def test_the_graph_explorer_works_inside_a_page(browser: Any, address: str) -> None:
    browser.get(f"{address}/tour/tensors_and_graphs.html")
    frame = browser.find_element("css selector", ".cell_output iframe")
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", frame)
    browser.switch_to.frame(frame)
    try:
        browser.find_element("css selector", 'g.node[aria-label="parameter W"]').click()
        text = browser.find_element("id", "panel").text
        assert text.startswith("W")
        assert "3 × 4" in text
        assert browser.find_elements("css selector", ".histogram rect")
    finally:
        browser.switch_to.default_content()


class Links(HTMLParser):
    """What a page refers to, and the anchors that it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed((BUILT / page).read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.targets.append(value)


def test_every_internal_link_has_a_target() -> None:
    known = {page: Links(page) for page in PAGES}
    broken = []
    for page, links in known.items():
        for target in links.targets:
            if target.split(":")[0] in ("https", "http", "data", "mailto"):
                continue
            path, anchor = urldefrag(unquote(target))
            path = path.partition("?")[0]
            file = (BUILT / page).parent.joinpath(path).resolve() if path else BUILT / page
            other = known.get(file.relative_to(BUILT.resolve()).as_posix())
            if not file.exists() or (anchor and other and anchor not in other.anchors):
                broken.append(f"{page}: {target}")
    assert not broken
