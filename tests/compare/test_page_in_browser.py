"""The page of a report in a real browser: Chromium, without a window, from a file."""

import io
import json
import re
import shutil
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from segkit.compare.collect import read_methods
from segkit.compare.page import page
from segkit.compare.report import Report
from segkit.experiments.comparison import open_test_split

FLAGS = (
    "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    "disable-component-update disable-sync"
)
BOTH, ONLY_A, ONLY_B, SAME, DIFFERENT = (236,) * 3, (0, 114, 178), (230, 159, 0), (130,) * 3, (40,) * 3
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&amp; 像 ${x}"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("chromium and chromedriver are not here")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in [*FLAGS.split(), f"user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


class Opened:
    """A page that is open, and what is in it."""

    def __init__(self, browser, path, hash="", width=1280):
        self.browser = browser
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get(f"file://{path}{hash}")
        self.wait()

    def find(self, id):
        return self.browser.find_element(By.ID, id)

    def wait(self):
        """Until what is chosen is drawn."""
        address = r"#a=(\d+)&b=(\d+)&class=(-?\d+)&sort=\w+&image=(.*)"

        def drawn(browser):
            a, b, index, image = re.fullmatch(address, browser.execute_script("return location.hash")).groups()
            return self.find("view").get_attribute("data-drawn") == f"{image} {a} {b} {index}"

        WebDriverWait(self.browser, 10, poll_frequency=0.05).until(drawn)

    def choose(self, id, value):
        Select(self.find(id)).select_by_value(str(value))
        self.wait()

    def chosen(self, *ids):
        """Values of these choices."""
        return [Select(self.find(id)).first_selected_option.get_attribute("value") for id in ids]

    def press(self, key):
        self.browser.execute_script("document.activeElement.blur()")
        ActionChains(self.browser).send_keys(key).perform()
        self.wait()

    def strip(self):
        """Ids of the images in their order."""
        return self.browser.execute_script(
            "return [...document.querySelectorAll('#strip button')].map((each) => each.title)"
        )

    def pixels(self, id):
        """uint8 [H, W, 4] RGBA of a canvas."""
        picture = self.browser.execute_script("return document.getElementById(arguments[0]).toDataURL()", id)
        with Image.open(io.BytesIO(b64decode(picture.split(",")[1]))) as image:
            return np.asarray(image.convert("RGBA"))

    def errors(self):
        return self.browser.get_log("browser")


@pytest.fixture
def opened(chromium, report):
    return Opened(chromium, report / "index.html")


@pytest.fixture(scope="module")
def scores_of(trained):
    """Id of an image -> mean IoU [3] of the three runs, by independent arithmetic; and its pixels of each class."""
    found = {}
    for path in trained:
        with np.load(path / "confusion_test.npz") as file:
            for name, matrix in zip(file["ids"].tolist(), file["matrices"].astype(float), strict=True):
                union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
                score = np.mean(matrix.diagonal()[union > 0] / union[union > 0])
                found.setdefault(name, ([], matrix.sum(1)))[0].append(score)
    return found


def expected_shades(trained, runs, name, chosen=None):
    """uint8 [H, W, 4] of the disagreement of two runs on an image."""
    (sample,) = [each for each in open_test_split(read_methods(trained)) if each.id == name]
    a, b = (np.asarray(Image.open(trained[run] / f"predictions/test/{name}.png")) for run in runs)
    shades = np.zeros((*a.shape, 4), np.uint8)
    for place, truth in np.ndenumerate(sample.labels):
        if truth == 255 or (chosen is not None and chosen not in (truth, a[place], b[place])):
            continue
        wrong = SAME if a[place] == b[place] else DIFFERENT
        shade = {(True, True): BOTH, (True, False): ONLY_A, (False, True): ONLY_B}
        shades[place] = (*shade.get((a[place] == truth, b[place] == truth), wrong), 255)
    return shades


def test_the_page_opens_from_a_file_on_the_first_run_of_two_methods_without_a_complaint(opened):
    assert opened.errors() == []
    assert opened.find("count").text == "6 of 6 test images."
    options = [option.text for option in Select(opened.find("run-a")).options]
    assert options == ["fcn32s, seed 0", "fcn32s, seed 1", "fcn8s"]
    assert opened.chosen("run-a", "run-b") == ["0", "2"]


@pytest.mark.parametrize(("sort", "key"), [("a", lambda d: -d), ("b", lambda d: d), ("most", lambda d: -abs(d))])
def test_images_are_in_the_order_of_the_difference_of_their_scores(opened, scores_of, sort, key):
    opened.choose("run-a", 1)
    opened.choose("sort", sort)
    difference = {name: values[1] - values[2] for name, (values, _) in scores_of.items()}
    assert opened.strip() == sorted(difference, key=lambda name: key(difference[name]))
    first = scores_of[opened.strip()[0]][0]
    assert f"mean IoU A {100 * first[1]:.1f}, B {100 * first[2]:.1f}" in opened.find("scores").text


def test_a_class_leaves_the_images_that_hold_it(opened, scores_of):
    chosen = next(index for index in range(11) if 0 < sum(pixels[index] > 0 for _, pixels in scores_of.values()) < 6)
    opened.choose("class", chosen)
    holding = {name for name, (_, pixels) in scores_of.items() if pixels[chosen] > 0}
    assert set(opened.strip()) == holding
    assert f"{len(holding)} of them hold" in opened.find("count").text
    assert "IoU of " in opened.find("scores").text


def test_keys_and_buttons_move_through_images_and_classes(opened):
    order = opened.strip()
    current = lambda: opened.find("scores").text.split(": ")[1].split(". ")[0]  # noqa: E731
    opened.press("\ue014")  # arrow right
    assert current() == order[1]
    assert not opened.find("previous").get_attribute("disabled")
    opened.find("next").click()
    opened.wait()
    assert current() == order[2]
    opened.press("\ue012")  # arrow left
    opened.press("\ue012")
    opened.press("\ue012")
    assert current() == order[0]
    assert opened.find("previous").get_attribute("disabled")
    marked = opened.browser.find_elements(By.CSS_SELECTOR, "#strip [aria-current]")
    assert [each.get_attribute("title") for each in marked] == [order[0]]
    opened.press("]")
    assert opened.chosen("class") == ["0"]
    opened.press("[")
    assert opened.chosen("class") == ["-1"]


def test_the_panels_show_label_predictions_and_where_they_differ(opened, trained, methods):
    dataset = open_test_split(methods)
    opened.press("\ue014")
    name = opened.strip()[1]
    (sample,) = [each for each in dataset if each.id == name]
    colors = np.vstack([dataset.palette, np.zeros((245, 3), np.uint8)])
    predicted = np.asarray(Image.open(trained[2] / f"predictions/test/{name}.png"))
    for id, ids in (("label", sample.labels), ("b", predicted)):
        np.testing.assert_array_equal(opened.pixels(id)[..., :3], colors[ids])
    np.testing.assert_array_equal(opened.pixels("disagreement"), expected_shades(trained, (0, 2), name))
    opened.choose("class", 3)
    name = opened.strip()[0]
    np.testing.assert_array_equal(opened.pixels("disagreement"), expected_shades(trained, (0, 2), name, chosen=3))


@pytest.mark.parametrize(
    ("address", "chosen", "shown"),
    [
        ("a=1&b=0&class=3&sort=b&image=streets-test-00004", ["1", "0", "3", "b"], ": streets-test-00004. IoU of road"),
        ("a=9&b=x&class=-7&sort=z&image=%00none", ["0", "2", "-1", "a"], ""),
    ],
    ids=["good", "bad"],
)
def test_the_address_keeps_what_is_shown_and_a_bad_one_does_no_harm(chromium, report, address, chosen, shown):
    opened = Opened(chromium, report / "index.html", f"#{address}")
    assert opened.chosen("run-a", "run-b", "class", "sort") == chosen
    assert shown in opened.find("scores").text
    assert opened.errors() == []


def test_a_telephone_shows_the_page_without_scrolling_sideways(chromium, report):
    opened = Opened(chromium, report / "index.html", width=390)
    assert opened.browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    assert opened.browser.execute_script("return document.getElementById('a').getBoundingClientRect().width") > 150


def test_every_control_has_a_name(opened):
    nameless = """return [...document.querySelectorAll('select, button, img, canvas')].filter((each) =>
        !each.labels?.length && !each.textContent.trim() && !each.alt && !each.getAttribute('aria-label'))"""
    assert opened.browser.execute_script(nameless) == []


def changed(report, folder, change, **texts):
    """A page on the data of the report after a change."""
    text = (report / "index.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    change(data)
    parts = {"subtitle": "", "tables": {}, "figures": [], "verdicts": [], "notes": []} | texts
    (folder / "index.html").write_text(page(HOSTILE, **parts, browser=data), encoding="utf-8")
    return folder / "index.html"


def test_names_that_look_like_code_are_shown_as_they_are(chromium, report, tmp_path):
    def rename(data):
        data["classes"][0]["name"] = data["runs"][0]["method"] = HOSTILE

    texts = {"subtitle": HOSTILE, "verdicts": [HOSTILE], "notes": [HOSTILE]}
    opened = Opened(chromium, changed(report, tmp_path, rename, **texts), "#class=0")
    assert opened.errors() == []
    assert opened.browser.title == opened.browser.find_element(By.TAG_NAME, "h1").text == HOSTILE
    assert Select(opened.find("run-a")).options[0].text == f"{HOSTILE}, seed 0"
    assert f"IoU of {HOSTILE} A " in opened.find("scores").text
    assert opened.browser.find_elements(By.CSS_SELECTOR, "img[src='x']") == []


def test_images_without_a_labelled_pixel_are_not_shown_and_are_counted(chromium, report, tmp_path):
    def empty(data):
        image = data["images"][2]
        for counts in (image["labelled"], *image["predicted"], *image["correct"]):
            counts[:] = [0] * len(counts)

    opened = Opened(chromium, changed(report, tmp_path, empty))
    assert opened.find("count").text == "6 of 6 test images, 1 of them without a labelled pixel and left out."
    assert sorted(opened.strip()) == [f"streets-test-{index:05}" for index in (0, 1, 3, 4, 5)]


def what_is_drawn(browser):
    return browser.find_element(By.ID, "view").get_attribute("data-drawn")


def test_a_notebook_shows_the_page_in_a_frame_that_keeps_to_itself(chromium, report, tmp_path):
    notebook = tmp_path / "notebook.html"
    shown = Report((report / "index.html",), ())._repr_html_()
    notebook.write_text(f"<!doctype html><meta charset=utf-8><h1 id=browser>Notebook</h1>{shown}", encoding="utf-8")
    chromium.get(f"file://{notebook}")
    chromium.switch_to.frame(chromium.find_element(By.TAG_NAME, "iframe"))
    first = WebDriverWait(chromium, 10).until(what_is_drawn)
    chromium.find_element(By.LINK_TEXT, "Image by image").click()
    WebDriverWait(chromium, 10).until(lambda browser: browser.execute_script("return scrollY") > 0)
    chromium.find_element(By.ID, "next").click()
    WebDriverWait(chromium, 10).until(lambda browser: what_is_drawn(browser) != first)
    chromium.switch_to.default_content()
    assert chromium.current_url == f"file://{notebook}"
