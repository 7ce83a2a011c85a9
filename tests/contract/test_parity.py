import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sightline_contract.errors import ModelError
from sightline_contract.parity import BARS, Golden, Parity, Seen, check_parity, measure_parity, read_golden, write_golden
from sightline_contract.targets import Precision

FRAMES = np.zeros((2, 4, 6, 3), np.uint8)
BARS_32 = BARS[Precision.FP32]


def seen(*scores: float, label: int = 0, shift: float = 0.0) -> Seen:
    left = np.arange(len(scores)) / 10 + shift
    boxes = np.stack([left, left, left + 0.08, left + 0.08], axis=1).astype(np.float32).reshape(-1, 4)
    return Seen(boxes, np.array(scores, np.float32), np.full(len(scores), label, np.int64))


def golden(*frames: Seen) -> Golden:
    return Golden(FRAMES[: len(frames)], frames)


def test_a_clip_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    write_golden(path, golden(seen(0.9, 0.2), seen()))
    back = read_golden(path)
    assert np.array_equal(back.frames, FRAMES)
    assert [each.scores.tolist() for each in back.seen] == [pytest.approx([0.9, 0.2]), []]
    assert back.min_score == 0.1


def test_a_clip_with_code_in_it_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    np.savez(path, allow_pickle=True, frames=np.array([Trap()], object))
    with pytest.raises(ModelError, match="is no golden clip"):
        read_golden(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("wrong", ["counts", "frames", "missing", "cut"])
def test_a_clip_that_is_not_whole_is_refused(wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    write_golden(path, golden(seen(0.9), seen()))
    with np.load(path) as file:
        arrays = dict(file)
    if wrong == "counts":
        arrays["counts"] = np.array([1, 1])
    elif wrong == "frames":
        arrays["frames"] = arrays["frames"].astype(np.float32)
    elif wrong == "missing":
        del arrays["scores"]
    np.savez(path, **arrays)
    if wrong == "cut":
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"golden\.npz: is no golden clip"):
        read_golden(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_golden(tmp_path / "golden.npz")


def test_an_archive_of_something_else_is_no_clip(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("readme.txt", "hello")
    (tmp_path / "golden.npz").write_bytes(content.getvalue())
    with pytest.raises(ModelError, match="is no golden clip"):
        read_golden(tmp_path / "golden.npz")


def test_the_same_detections_agree_wholly() -> None:
    clip = golden(seen(0.9, 0.5), seen(0.4))
    parity = check_parity(clip, clip.seen, BARS_32, "it")
    assert (parity.agreement, parity.missed, parity.added, parity.sure_golden) == (1.0, 0, 0, 3)
    assert parity.mean_iou == pytest.approx(1.0)


def test_a_score_that_crosses_the_threshold_is_no_missing_object() -> None:
    parity = measure_parity(golden(seen(0.301)), [seen(0.299)])
    assert (parity.agreement, parity.missed) == (1.0, 0)
    assert parity.mean_score_gap == pytest.approx(0.002, abs=1e-4)


def test_an_unsure_detection_of_one_side_alone_is_no_difference() -> None:
    assert measure_parity(golden(seen(0.9, 0.15)), [seen(0.9)]).agreement == 1.0


def test_missing_added_and_renamed_objects_are_counted() -> None:
    assert measure_parity(golden(seen(0.9, 0.8)), [seen(0.9)]).missed == 1
    assert measure_parity(golden(seen(0.9)), [seen(0.9, 0.8)]).added == 1
    renamed = measure_parity(golden(seen(0.9)), [seen(0.9, label=1)])
    assert (renamed.agreement, renamed.missed, renamed.added) == (0.0, 1, 1)


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        (seen(0.9), r"agreement 0\.6667 < 0\.995.*1 of 2 objects missed, 0 added"),
        (seen(0.9, 0.8, shift=0.01), r"mean IoU 0\.\d+ < 0\.99"),
        (seen(0.88, 0.78), r"mean score gap 0\.0200 > 0\.005"),
        (seen(float("nan"), float("nan")), r"agreement"),
    ],
)
def test_an_engine_below_a_bar_is_refused_with_its_figures(engine: Seen, says: str) -> None:
    with pytest.raises(ModelError, match=f"^it: does not see what the model sees.*{says}"):
        check_parity(golden(seen(0.9, 0.8)), [engine], BARS_32, "it")


def test_a_figure_that_is_no_number_passes_no_bar() -> None:
    nan = float("nan")
    assert Parity(nan, nan, nan, 1, 1, 0, 0).failure(BARS_32) == (
        "agreement nan < 0.995, mean IoU nan < 0.99, mean score gap nan > 0.005"
    )


def test_an_empty_clip_passes_nobody() -> None:
    with pytest.raises(ModelError, match="take another clip"):
        check_parity(golden(seen()), [seen()], BARS_32, "it")
