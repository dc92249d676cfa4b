"""ntsload's HTML report: its plots are there to be seen, light and dark, and it asks for nothing."""
import re
import subprocess

import pytest

from ntsload import BINARY

SCHEMES = ("light", "dark")


@pytest.fixture(scope="session")
def report(daemon, tmp_path_factory):
    """Of a real run."""
    page = tmp_path_factory.mktemp("report") / "report.html"
    subprocess.run([BINARY, "ke", f"127.0.0.1:{daemon.ke_port}", "--duration", "2s", "--html", page], check=True,
                   stdout=subprocess.DEVNULL, timeout=60)
    return page


@pytest.fixture(scope="session")
def pages(browser, report):
    return {scheme: browser.open(report.as_uri(), scheme) for scheme in SCHEMES}


def colour(text):
    """(r, g, b) of a computed style."""
    return tuple(map(int, re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", text).groups()))


def distance(a, b):
    """Less than 150 for a line's smoothed edge; from a line to paper or grid it is 250 and more."""
    return sum(abs(x - y) for x, y in zip(a, b))


def background(page):
    return colour(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def plots(page):
    """Of each plot the part of the screenshot, and the colours of its lines."""
    found = page.evaluate("""[...document.querySelectorAll("svg")].map(svg => {
        const box = svg.getBoundingClientRect();
        return [[box.left, box.top + scrollY, box.right, box.bottom + scrollY].map(Math.round),
                [...svg.querySelectorAll("path.series")].map(path => getComputedStyle(path).stroke)];
    })""")
    return [(page.image.crop(box), [colour(c) for c in colours]) for box, colours in found]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_console_is_empty_and_nothing_else_is_fetched(pages, report, scheme):
    assert pages[scheme].complaints() == []
    assert [u for u in pages[scheme].requests() if not u.startswith("data:")] == [report.as_uri()]


def test_a_script_that_fails_would_be_seen(browser, tmp_path):
    """The check above can fail."""
    bad = tmp_path / "bad.html"
    bad.write_text('<script>console.error("x"); nonsense()</script><img src="missing.png">')
    page = browser.open(bad.as_uri(), "light")
    assert len(page.complaints()) >= 2 and len(page.requests()) == 2


def check_plots(page):
    found = plots(page)
    assert len(found) == 3
    for number, (image, lines) in enumerate(found):
        assert image.width > 500 and image.height > 100
        pixels = list(image.getdata())
        assert len(set(pixels)) > 20, "uniform: nothing is drawn"
        on_top = lines[-1]  # another may be hidden behind it
        columns = {i % image.width for i, pixel in enumerate(pixels) if distance(pixel, on_top) < 150}
        # Latency has gaps where nothing was done; rate and loss have none.
        assert len(columns) > (0.05 if number == 1 else 0.8) * image.width, f"{on_top} in {len(columns)} columns"
        assert pixels.count(background(page)) > len(pixels) / 2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_plots_are_drawn(pages, scheme):
    check_plots(pages[scheme])


def test_plots_without_their_lines_would_be_seen(browser, report, tmp_path):
    """The check above can fail."""
    bare = tmp_path / "bare.html"
    bare.write_text(re.sub(r'(class="series \w+" d=)"[^"]*"', r'\1""', report.read_text()))
    with pytest.raises(AssertionError, match="columns"):
        check_plots(browser.open(bare.as_uri(), "light"))


def test_light_is_light_and_dark_is_dark(pages):
    assert min(background(pages["light"])) > 200 and max(background(pages["dark"])) < 60
    for scheme in SCHEMES:
        page = pages[scheme]
        assert page.image.getpixel((2, 2)) == background(page)
        ink = colour(page.evaluate("getComputedStyle(document.body).color"))
        assert distance(ink, background(page)) > 400, "text that can be read"
    assert plots(pages["light"])[0][1] != plots(pages["dark"])[0][1]
