import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_run import CAMERA, START_US, run_rows, write_clip, write_run

from sightline.results.annotate import annotate_video
from sightline.results.detections import read_detections
from sightline.results.reading import read_results
from sightline.results.report import write_report
from sightline.results.summary import Run, build_summary
from sightline_contract.errors import StorageError

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """Elements of a page with their attributes; fails where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def report(folder: Path, with_video: bool = True) -> str:
    """The report of the tables in ``folder/tables``."""
    results = read_results(folder / "tables", CAMERA.camera_id)
    video = None
    if with_video:
        video = annotate_video(write_clip(folder / "walk.mkv"), folder / "demo.mp4", results, CAMERA, START_US)
    summary = build_summary(results, Run("walk.mkv"))
    return write_report(folder / "report.html", results, summary, CAMERA, START_US, video).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    write_run(folder / "tables")
    return report(folder)


def test_the_report_asks_for_nothing_from_elsewhere(page: str) -> None:
    assert not re.search(r"https?:|(?<!:)//[a-z]", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page))
    parsed = Page(page)
    sources = [attributes.get("src") or "" for tag in ("img", "video", "script", "iframe") for attributes in parsed.all(tag)]
    assert all(source == "demo.mp4" or source.startswith("data:image/jpeg") for source in sources)
    assert not parsed.all("link")


def test_every_picture_has_words_for_it(page: str) -> None:
    parsed = Page(page)
    images, plots = parsed.all("img"), parsed.all("svg")
    assert len(images) == 3  # two stills beside the poster, and the heat map
    assert all(image["alt"] for image in images)
    assert len(plots) == 7
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)
    assert all(video["aria-label"] for video in parsed.all("video"))


def test_the_page_is_well_formed_and_ids_are_unique(page: str) -> None:
    parsed = Page(page)
    assert parsed.open == []
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    referenced = set(re.findall(r"(?:url\(#|href=\"#)([\w-]+)", page))
    assert referenced <= set(ids)


def test_plots_take_their_colours_from_the_page(page: str) -> None:
    plots = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "var(--series-1)" in plots
    assert not re.findall(r"(?:fill|stroke): #[0-9a-f]{6}", plots)
    assert "<style" not in plots, "a style element would change the whole page"


def test_the_figures_of_the_run_are_on_the_page(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "93.3% of 30 expected" in text
    assert "car 1, person 1" in text
    assert "p50 4 ms, p95 8.5 ms" in text
    assert "silver.track_segments 6" in text
    assert "gate east person 1" in text


def test_empty_tables_give_a_page_that_says_so(tmp_path: Path) -> None:
    page = report(tmp_path)
    assert "hold no rows" in page
    assert Page(page).open == []
    assert Page(page).all("svg") == []


def test_a_report_without_a_video_has_no_video(tmp_path: Path) -> None:
    write_run(tmp_path / "tables")
    page = Page(report(tmp_path, with_video=False))
    assert (page.all("video"), page.all("img"), len(page.all("svg"))) == ([], [], 7)


def test_text_from_the_data_is_escaped(tmp_path: Path) -> None:
    rows = run_rows()
    evil = "<script>alert('$x_1$')</script>"
    for row in rows["silver.track_segments"] + rows["gold.object_counts"] + rows["gold.alerts"]:
        row["class_name"] = evil
    for row in rows["silver.line_crossings"]:
        row["direction"] = '"><img src=x onerror=alert(1)>'
    write_run(tmp_path / "tables", rows)
    parsed = Page(report(tmp_path, with_video=False))
    assert parsed.all("script") == []
    assert parsed.all("img") == []
    assert any(evil in (plot["aria-label"] or "") for plot in parsed.all("svg"))


def test_messages_delivered_twice_or_broken_do_not_count_as_detections(tmp_path: Path) -> None:
    detections = read_detections(read_results(write_run(tmp_path), CAMERA.camera_id), START_US)
    assert detections.counts.tolist() == [1] * 10 + [2] * 10 + [1] * 10
    assert detections.times_us.tolist() == [100_000 * frame for frame in range(30)]
    assert len(detections.scores) == 40


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    results = read_results(tmp_path, CAMERA.camera_id)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/report\.html: cannot be written"):
        write_report(tmp_path / "file" / "report.html", results, build_summary(results, Run("clip")), CAMERA, START_US)
