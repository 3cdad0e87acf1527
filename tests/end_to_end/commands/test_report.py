"""`occfeat report` on small runs with hostile names: what the page holds, and what a browser makes of it."""

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import occfeat
from occfeat.cli import main
from tests.support.nuscenes_folder import build_nuscenes_folder, edit_table
from tests.support.small_runs import Flags

pytest.importorskip("plotly", reason="comes with the extra `report`")
HOSTILE_SCENE = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">'
HOSTILE_RUN = "<img src=x onerror=window.hacked=1><b>&amp;$x^2$ %{y}"
METRIC = "vehicle_iou/visible"


class Tables(HTMLParser):
    """Cells of all tables of a page, by the text that names their row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._inside = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with a scene whose name is a script."""
    folder = build_nuscenes_folder(tmp_path_factory.mktemp("data") / "set")
    edit_table(folder, "scene", lambda records: records[1].update(name=HOSTILE_SCENE))
    return folder


@pytest.fixture(scope="module")
def runs(flags: Flags, hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A pretraining, two fine-tunings of other draws, and one with other settings and a hostile name."""
    folder = tmp_path_factory.mktemp("runs")
    shared = ("--data", str(hostile), "--split", "all", "--optim.epochs", "2")
    assert main([*flags("pretrain", folder / "pre"), *shared]) == 0
    words = [*shared, "--val-split", "all", "--pictures", "0", "--classes", "vehicle"]
    for seed in (0, 1):
        run = folder / f"tuned-{seed}"
        assert main([*flags("finetune", run), *words, "--engine.seed", str(seed)]) == 0
    assert main([*flags("finetune", folder / HOSTILE_RUN), *words, "--positive-weight", "5"]) == 0
    _write_robustness(folder / "tuned-0", 0.5)
    _write_robustness(folder / "tuned-1", 0.7)
    return [folder / name for name in ("pre", "tuned-0", "tuned-1", HOSTILE_RUN)]


def _write_robustness(run: Path, rate: float) -> None:
    """What an evaluation under three corruptions leaves behind."""
    severities, names = ("easy", "mid", "hard"), ("Fog", "Snow", "LowLight")
    score = {"iou": 0.2 * rate, "resilience_rate": rate, "corruption_error": None}
    scores = {"by_corruption": dict.fromkeys(names, score), "by_kind": {"weather": score}, "mean": score}
    corrupted = {name: {one: {METRIC: 0.2 * rate} for one in severities} for name in names}
    known = {"format": 1, "split": "all", "key_frames": 6, "data_fingerprint": "f", "images": "generated"}
    known |= {"seed": 0, "baseline": None, "clean": {METRIC: 0.2}, "corrupted": corrupted}
    (run / "robustness-all").mkdir()
    (run / "robustness-all" / "robustness.json").write_text(json.dumps({**known, "scores": {METRIC: scores}}))


@pytest.fixture(scope="module")
def page(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    words = [*map(str, runs), "--out", str(file), "--key-frames", "4", "--device", "cpu"]
    assert main(["report", *words]) == 0
    return file


def row_of(page: Path, name: str, cells: int) -> list[list[str]]:
    return [row for row in Tables(page.read_text()).rows if row and row[0] == name and len(row) == cells]


def results(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "evaluation-all" / "results.json").read_text())
    return found["metrics"]


def test_tables__hold_the_metrics_of_the_runs(page: Path, runs: list[Path]) -> None:
    for run in runs[1:]:
        metrics = [f"{value:.4f}" for value in results(run).values()]
        assert [run.name, *metrics] in Tables(page.read_text()).rows
    both = [results(run)[METRIC] for run in runs[1:3]]
    spread = f"{sum(both) / 2:.4f} ({min(both):.4f} to {max(both):.4f})"
    assert [row for row in row_of(page, "tuned", 4) if spread in row and row[1] == "2"]


def test_tables__hold_robustness_and_what_was_run(page: Path, runs: list[Path]) -> None:
    assert ["Fog", "0.1200 (0.1000 to 0.1400)"] in row_of(page, "Fog", 2)
    assert ["mRR", "0.6000 (0.5000 to 0.7000)"] in row_of(page, "mRR", 2)
    assert ["weather", "0.6000 (0.5000 to 0.7000)"] in row_of(page, "weather", 2)
    ((_, student),) = row_of(page, "student", 2)
    assert student == "simplebev test_efficientnet"
    measured = json.loads((runs[0] / "footprint.json").read_text())
    assert measured["seconds"]["training"] > 0
    assert measured["peak_memory_mb"] > 100


def test_page__holds_everything_itself_and_is_small(page: Path) -> None:
    text = page.read_text()
    sources = re.findall(r'src="([^"]{0,40})', re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
    assert len(sources) == 4 * (6 + 2 + 3 + 2)  # cameras, truth, fine-tuned, pretrained
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"<link|<iframe|@import|url\(", text.split("<script>")[0])
    pictures = sum(map(len, re.findall(r'src="(data:[^"]+)"', text)))
    assert pictures / 4 < 300_000
    assert text.count("<h3>") == 4
    assert text.count("<noscript>") == text.count('class="chart"') > 0


def test_page__shows_hostile_names_as_text(page: Path) -> None:
    text = page.read_text()
    assert HOSTILE_SCENE not in text
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror" in text


def test_pick__worst_shows_the_lowest_iou(runs: list[Path], tmp_path: Path) -> None:
    shown = {}
    for pick, count in (("spread", "6"), ("worst", "2")):
        out = tmp_path / f"{pick}.html"
        words = ["--out", str(out), "--key-frames", count, "--pick", pick, "--device", "cpu"]
        assert main(["report", str(runs[1]), *words]) == 0
        text = out.read_text()
        shown[pick] = [float(score) for score in re.findall(r"<span>tuned-0: IoU ([\d.]+)</span>", text)]
    assert len(shown["spread"]) == 6
    assert sorted(shown["worst"]) == sorted(shown["spread"])[:2]


def test_pick__worst_needs_a_network_that_segments(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(runs[0]), "--out", str(tmp_path / "page.html"), "--pick", "worst"]) == 2
    assert "--pick worst needs a fine-tuned run" in capsys.readouterr().err


def test_write_report__in_python(runs: list[Path], tmp_path: Path) -> None:
    outcome = occfeat.write_report(runs[1:3], tmp_path / "page.html", key_frames=0)
    assert outcome.text.splitlines()[-1] == str(tmp_path / "page.html")
    assert "<td>2</td>" in (tmp_path / "page.html").read_text()


def test_run__without_weights_is_left_out_of_the_pictures(runs: list[Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(runs[1], bare, ignore=shutil.ignore_patterns("weights.safetensors", "checkpoints"))
    assert main(["report", str(bare), "--out", str(tmp_path / "page.html"), "--device", "cpu"]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "bare is not shown in key frames: its weights are missing." in text
    assert "<article" not in text
    assert f"<td>{results(bare)[METRIC]:.4f}</td>" in text


def test_run__of_some_cameras_names_those(flags: Flags, tmp_path: Path) -> None:
    words = ["--view.cameras", "CAM_BACK", "CAM_FRONT_LEFT", "--optim.epochs", "1"]
    assert main([*flags("finetune", tmp_path / "two"), *words, "--val-split", "None", "--pictures", "0"]) == 0
    assert main([*flags("pretrain", tmp_path / "pre"), *words]) == 0
    for run in ("two", "pre"):
        out = tmp_path / f"{run}.html"
        shown = ["--key-frames", "1", "--device", "cpu"]
        assert main(["report", str(tmp_path / run), "--out", str(out), *shown]) == 0
        captions = re.findall("<figcaption>(CAM_.*?)</figcaption>", out.read_text())
        assert captions == ["CAM_FRONT_LEFT", "CAM_BACK"]


def test_page__without_key_frames_needs_no_data(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    words = ["--key-frames", "0", "--data", str(tmp_path / "nowhere")]
    assert main(["report", *map(str, runs), "--out", str(out), *words]) == 0
    assert "<article" not in out.read_text()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="comes with the extra `dev`")
    programs = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    program, driver = next(filter(None, programs), None), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("there is no Chromium with its driver (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    profile = tmp_path_factory.mktemp("profile")
    for flag in ("headless=new", "no-sandbox", "disable-gpu", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(driver)
    with webdriver.Chrome(options=options, service=service) as opened:
        yield opened


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    """The page in a browser, with the log of what led there."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())
    return browser


def visible_titles(browser: Any) -> list[str]:
    script = "return [...document.querySelectorAll('.frame:not([hidden]) h3')].map((one) => one.textContent)"
    titles: list[str] = browser.execute_script(script)
    return titles


def press(browser: Any, key: str, on: str = "body") -> None:
    browser.execute_script(
        "document.querySelector(arguments[1]).dispatchEvent("
        "new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))",
        key,
        on,
    )


def test_browser__runs_what_we_wrote_and_nothing_else(opened: Any, page: Path) -> None:
    assert opened.get_log("browser") == []
    assert opened.execute_script("return window.hacked") is None
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    requests = [one["params"]["request"]["url"] for one in events if one["method"].endswith("WillBeSent")]
    assert page.as_uri() in requests
    assert [url for url in requests if url != page.as_uri() and not url.startswith(("data:", "blob:"))] == []
    drawn = opened.execute_script("return document.querySelectorAll('.drawing .main-svg').length")
    assert drawn >= 3 * opened.execute_script("return document.querySelectorAll('figure.chart').length") / 2
    broken = "return [...document.images].filter((one) => !one.complete || !one.naturalWidth).length"
    assert opened.execute_script(broken) == 0
    names = opened.execute_script(
        "return [...document.querySelectorAll('.legendtext')].map((n) => n.textContent)"
    )
    assert HOSTILE_RUN in names


def test_browser__keys_and_buttons_step_through_the_frames(opened: Any) -> None:
    opened.execute_script("document.querySelector('.viewer').scrollIntoView()")
    first = visible_titles(opened)
    assert len(first) == 1
    press(opened, "ArrowRight")
    second = visible_titles(opened)
    assert len(second) == 1
    assert second != first
    press(opened, "ArrowLeft")
    assert visible_titles(opened) == first
    opened.execute_script("document.querySelector('.next').click()")
    assert visible_titles(opened) == second
    press(opened, "End", ".viewer")
    assert HOSTILE_SCENE in visible_titles(opened)[0]
    press(opened, "ArrowRight")
    assert visible_titles(opened) == first  # round and round
    press(opened, "ArrowRight", ".order")  # a key of the list of orders
    assert visible_titles(opened) == first
    assert opened.execute_script("return document.querySelector('.position').textContent") == "1 of 4"


def test_browser__orders_by_iou(opened: Any) -> None:
    titles, scores = [], []
    opened.execute_script(
        "const order = document.querySelector('.order'); order.value = '1';"
        "order.dispatchEvent(new Event('change'))"
    )
    for _ in range(4):
        titles += visible_titles(opened)
        scores += opened.execute_script(
            "return [...document.querySelectorAll('.frame:not([hidden]) .scores span')].slice(0, 1)"
            ".map((one) => Number(one.textContent.split(' IoU ')[1]))"
        )
        press(opened, "ArrowRight", ".viewer")
    assert len(set(titles)) == 4
    assert scores == sorted(scores)


@pytest.mark.parametrize("width_px", [1400, 390])
def test_browser__nothing_sticks_out_sideways(opened: Any, width_px: int) -> None:
    size = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": width_px < 500}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened.refresh()
    assert opened.execute_script("return window.innerWidth") == width_px
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width_px


def test_browser__without_scripts_tables_and_pictures_are_there(opened: Any, runs: list[Path]) -> None:
    opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened.refresh()
        text = opened.find_element("tag name", "body").text
        assert f"{results(runs[1])[METRIC]:.4f}" in text
        shown = [one for one in opened.find_elements("css selector", ".frame") if one.is_displayed()]
        assert len(shown) == 4
        assert not opened.find_element("css selector", ".controls").is_displayed()
    finally:
        opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser__is_light_or_dark_as_the_reader_likes(opened: Any, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    paper = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", paper)[:3])) / 3
    assert brightness > 240 if scheme == "light" else brightness < 40
    ink = opened.execute_script("return getComputedStyle(document.querySelector('.drawing text')).fill")
    assert (sum(map(int, re.findall(r"\d+", ink)[:3])) / 3 < 128) == (scheme == "light")
