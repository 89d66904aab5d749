"""`segkit data verify`: every planted fault is found, in one report, and nothing else; sound datasets have none."""

import json

import pytest
from planted import make_camvid, plant

CAMVID = "configs/camvid/fcn8s.yaml"


@pytest.fixture
def found(segkit):
    """Exit code and {kind: {place below the root: detail}} of a dataset."""

    def look(root, *arguments):
        code, out, errors = segkit("data", "verify", *arguments, "--json")
        assert errors == ""
        entries = json.loads(out)["entries"]
        return code, {
            entry["title"]: {each["place"].removeprefix(f"{root}/"): each["detail"].replace(f"{root}/", "") for each in entry["found"]}
            for entry in entries
        }

    return look


def test_every_kind_of_planted_fault_is_found_and_nothing_else(found, tmp_path):
    root = make_camvid(tmp_path / "CamVid")
    planted = list(plant(root))
    code, kinds = found(root, CAMVID, f"data.root={root}")
    assert code == 2
    assert len({kind for kind, _ in planted}) >= 40
    assert {(kind, place) for kind, places in kinds.items() for place in places} == set(planted)


def test_a_sound_dataset_has_no_fault_but_that_it_is_smaller_than_the_papers(found, tmp_path):
    root = make_camvid(tmp_path / "CamVid")
    assert found(root, CAMVID, f"data.root={root}") == (0, {
        "split has another number of images than the papers'": {
            "train": "70 images, expected 367", "val": "8 images, expected 101", "test": "8 images, expected 233",
        }
    })  # fmt: skip
