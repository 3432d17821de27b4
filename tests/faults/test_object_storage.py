"""Slides and outlines on object storage, here an S3 server on this machine: the same results, each file fetched once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from running import new_graph

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]

BUCKET = "slides"
SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.INFO)
logging.basicConfig(filename=sys.argv[1], format="%(message)s")
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path):
    """Address of a server with a bucket, and its log."""
    log = tmp_path / "requests"
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, log],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        port = next(line for line in process.stdout if line.strip().isdigit()).strip()
        yield f"http://127.0.0.1:{port}", log
        process.communicate("")


def upload(address, folder):
    """Put the files of a folder into the bucket."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="user", aws_secret_access_key="word"
    )
    client.create_bucket(Bucket=BUCKET)
    for path in folder.iterdir():
        client.upload_file(str(path), BUCKET, f"a folder/{path.name}".replace(" ", "-"))


def test_slides_elsewhere_give_the_same_results_and_are_fetched_once(store, new_project, finished, tmp_path):
    address, log = store
    graph = new_graph(tmp_path, new_project(tmp_path / "project"))
    folder = graph.project.sheet.parent
    upload(address, folder)
    rows = [
        {**row, **{name: f"s3://{BUCKET}/a-folder/{row[name]}" for name in ("image", "annotations") if row[name]}}
        for row in graph.project.rows()
    ]
    graph.project.write_sheet(rows)
    for path in folder.iterdir():
        if path != graph.project.sheet:
            path.unlink()
    keys = {"AWS_ACCESS_KEY_ID": "user", "AWS_SECRET_ACCESS_KEY": "word", "AWS_ENDPOINT_URL": address}
    targets = ("results/tiles/fine/a.h5", "results/tiles/fine/b.h5", "results/scaled/half/t")

    graph.run(*targets, **keys)
    graph.run("results/tiles/coarse/b.h5", **keys)

    places = ("masks/a", "masks/b", "masks/t", "scaled/full/a", "scaled/half/t", "tiles/fine/a.h5", "tiles/coarse/b.h5")
    assert relative(graph, *places) == relative(finished, *places)
    fetched = re.findall(rf"GET (/{BUCKET}/a-folder/[^\s?]+) ", log.read_text())
    wanted = {
        f"/{BUCKET}/a-folder/{Path(row[name]).name}"
        for row in rows
        for name in ("image", "annotations")
        if row[name] and row["shard"] != "x1"  # no target asks for it
    }
    assert sorted(fetched) == sorted(wanted)
    said = "".join(path.read_text(errors="replace") for path in graph.folder.rglob("*.log"))
    assert "word" not in said
    assert graph.run(*targets, "-n", **keys).count("Nothing to be done") == 1


def relative(graph, *places):
    return {path.removeprefix(str(graph.results)): value for path, value in graph.hashes(*places).items()}


def test_urls_of_the_sheet_are_checked(project):
    rows = project.rows()
    rows[0]["image"] = "s3://bucket"
    rows[1]["image"] = "s3://bucket/../secret"
    project.write_sheet(rows)
    program = Path(sys.executable).parent / "tilewright"
    done = subprocess.run(
        [program, "check", "--config", project.config_file], cwd=project.folder, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout.count("is no URL of a file") + done.stderr.count("is no URL of a file") == 2
