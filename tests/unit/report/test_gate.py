"""Decisions are taken from the viewer's own page alone, and of a size that outlines have."""

import http.client
import json

import pytest
from viewing import SQUARE, make_results, viewer

from tilewright.annotations.decisions import read_decisions
from tilewright.report.viewer.gate import TOLD


@pytest.fixture(scope="module")
def project(tmp_path_factory, new_project):
    return make_results(new_project(tmp_path_factory.mktemp("gate") / "project")).parent


@pytest.fixture
def seen(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    with viewer("results", "--edit", log=tmp_path / "view.log") as found:
        yield found


@pytest.fixture
def file(project):
    file = project / "slides" / "corrections" / "t1.geojson"
    yield file
    file.unlink(missing_ok=True)


def test_only_the_page_itself_can_decide(seen, file):
    wish = json.dumps({"kind": "draw", "class": "gland", "geometry": SQUARE}).encode()
    good = {"Content-Type": "application/json", "Origin": seen.origin}
    path, other = "0/t1/decide.json", f"/{'x' * 32}/0/t1/decide.json"

    def refused(headers, path=path, **options):
        return seen.refusal(path, method="POST", body=wish, headers={**good, **headers}, **options)[0]

    assert refused({}, other, whole=True) == 403
    assert refused({"Host": "evil.example"}) == 421
    assert refused({"Origin": "http://evil.example"}) == 403
    assert refused({"Origin": "null"}) == 403
    assert refused({"Origin": f"http://localhost:{seen.port}"}) == 403, "as that page has another origin"
    assert refused({"Sec-Fetch-Site": "cross-site"}) == 403
    assert seen.refusal(path, method="POST", body=wish, headers={"Content-Type": "application/json"})[0] == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert refused({"Content-Type": kind}) == 415
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        assert seen.refusal(path, method=method, headers=good)[0] == 405
    assert seen.refusal("runs.json", body=b"x" * 100)[0] == 413, "who asks says nothing"
    assert not file.exists()


def test_a_body_that_is_too_large_is_not_taken_in_chunks_either(seen, file):
    good = {"Content-Type": "application/json", "Origin": seen.origin}
    status, text = seen.refusal("0/t1/decide.json", method="POST", body=b" " * (TOLD + 1), headers=good)
    assert (status, str(TOLD) in text) == (413, True)
    connection = http.client.HTTPConnection("127.0.0.1", seen.port, timeout=60)
    chunks = (b" " * 50_000 for _ in range(40))
    connection.request("POST", f"{seen.prefix}0/t1/decide.json", chunks, good, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    wish = json.dumps({"kind": "draw", "class": "gland", "geometry": SQUARE}).encode()
    connection.request("POST", f"{seen.prefix}0/t1/decide.json", iter([wish[:9], wish[9:]]), good, encode_chunked=True)
    assert connection.getresponse().status == 200, "small ones are"
    connection.close()
    assert len(read_decisions(file)) == 1


def test_a_viewer_that_does_not_edit_takes_nothing(project, file, tmp_path):
    with viewer(project / "results", log=tmp_path / "log") as own:
        assert own.json("runs.json")["editing"] is None
        good = {"Content-Type": "application/json", "Origin": own.origin}
        status, text = own.refusal("0/t1/decide.json", method="POST", body=b"{}", headers=good)
        assert (status, "only reads" in text) == (413, True)
        assert own.refusal("0/t1/decide.json", method="POST", headers=good)[0] == 405
        assert own.refusal("queue.json")[0] == 404
    assert not file.exists()
