"""An S3 server on this machine, and the tiny project with its slides and outlines on it."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

BUCKET = "slides"
KEYS = {"AWS_ACCESS_KEY_ID": "user", "AWS_SECRET_ACCESS_KEY": "word"}
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


@contextmanager
def server(log):
    """Address of a server that writes its requests into a file."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, log],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        port = next(line for line in process.stdout if line.strip().isdigit()).strip()
        yield f"http://127.0.0.1:{port}"
        process.communicate("")


def move(project, address):
    """Move slides and outlines of a project to the server; variables of the environment with which they are found."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", **{name.lower(): value for name, value in KEYS.items()}
    )
    client.create_bucket(Bucket=BUCKET)
    rows = [
        {**row, **{name: f"s3://{BUCKET}/{key(row[name])}" for name in ("image", "annotations") if row[name]}}
        for row in project.rows()
    ]
    for path in project.sheet.parent.iterdir():
        if path != project.sheet:
            client.upload_file(str(path), BUCKET, key(path))
            path.unlink()
    project.write_sheet(rows)
    return {**KEYS, "AWS_ENDPOINT_URL": address}


def key(path):
    """Where a file lies in the bucket."""
    return f"a-folder/{Path(path).name}".replace(" ", "-")
