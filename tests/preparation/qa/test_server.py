import shutil

import pytest

from metavoxel.errors import CohortError
from metavoxel.preparation.qa.decisions import Decisions
from metavoxel.preparation.qa.server import make_app

testclient = pytest.importorskip("fastapi.testclient", reason="needs metavoxel[serve]")


@pytest.fixture
def client(derivative):
    return testclient.TestClient(make_app(derivative), base_url="http://127.0.0.1")


def test_page_scans_and_pictures(client):
    page = client.get("/")
    assert (
        "http" not in page.text.replace("http-equiv", "")
        and "default-src 'self'" in page.headers["content-security-policy"]
    )
    listed = client.get("/scans").json()
    assert listed["scans"][0]["name"] == "sub-05" and listed["agreement"] == []
    assert client.get("/figures/sub-01_registered.png").headers["content-type"] == "image/png"
    assert client.get("/figures/../dataset_description.json").status_code == 404


def test_decisions_reach_the_table(client, derivative):
    answer = client.post("/decisions", json={"scan": "sub-02", "rater": "Ann", "decision": "drop", "note": "cut"})
    assert answer.status_code == 200
    (row,) = Decisions(derivative).read()
    assert (row.decision, row.output, row.note) == ("drop", "hash02", "cut")
    found = {scan["name"]: scan["decisions"] for scan in client.get("/scans").json()["scans"]}
    assert found["sub-02"][0]["rater"] == "Ann" and not found["sub-02"][0]["outdated"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"scan": "sub-99"}, 404),
        ({"rater": ""}, 422),
        ({"rater": "a\tb"}, 422),
        ({"rater": " Ann"}, 422),
        ({"rater": "N/A"}, 422),
        ({"rater": "A\0"}, 422),
        ({"decision": "maybe"}, 422),
    ],
)
def test_wrong_decisions_are_refused(client, derivative, change, status):
    body = {"scan": "sub-02", "rater": "Ann", "decision": "keep", "note": ""} | change
    assert client.post("/decisions", json=body).status_code == status
    assert Decisions(derivative).read() == []


def test_another_host_is_refused(derivative):
    other = testclient.TestClient(make_app(derivative), base_url="http://elsewhere.example")
    assert other.get("/scans").status_code == 400


def test_a_table_damaged_while_the_page_is_open_is_explained(client, derivative):
    (derivative / "qa.tsv").write_text("participant_id\n1\n")
    for answer in (
        client.get("/scans"),
        client.post("/decisions", json={"scan": "sub-02", "rater": "Ann", "decision": "keep"}),
    ):
        assert answer.status_code == 409 and "no column" in answer.json()["detail"]
    assert (derivative / "qa.tsv").read_text() == "participant_id\n1\n"


def test_a_derivative_without_pictures(derivative):
    shutil.rmtree(derivative / "figures")
    with pytest.raises(CohortError, match=r"figures: no such folder.* repeat metavoxel prepare"):
        make_app(derivative)


def test_a_folder_without_scans(tmp_path):
    with pytest.raises(CohortError, match="no prepared scan"):
        make_app(tmp_path)
