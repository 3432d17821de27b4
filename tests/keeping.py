"""A job that takes and gives a file and a folder, for tests of what is kept."""

import os
import shutil
from pathlib import Path

from tilewright.runtime.kept import Job, at_most_once, everything, job_text

OLD = 1_000_000_000
MADE = {"file.bin": b"firstsecond", "many/deep/c.bin": b"alonealone", "many/d.bin": b"d"}


class Bench:
    """A job with a file and a folder as inputs, and the same as outputs."""

    def __init__(self, folder, **others):
        self.folder, self.others, self.computed = folder, others, 0
        (folder / "raw" / "below").mkdir(parents=True)
        self.write("raw/below/a.bin", b"first")
        self.write("raw/b.bin", b"second")
        self.write("one.bin", b"alone")

    def write(self, name, content, when=OLD):
        (self.folder / name).write_bytes(content)
        os.utime(self.folder / name, (when, when))

    def run(self, **changed):
        told = {
            "results": str(self.folder / "results"), "store": str(self.folder / "results" / ".kept"), "any_code": False,
            "shared": False,
            "verb": "stretch", "code": "c0de", "told": "settings",
            "inputs": [str(self.folder / "one.bin"), str(self.folder / "raw")],
            "outputs": [str(self.folder / "results" / "x" / "file.bin"), str(self.folder / "results" / "x" / "many")],
        } | self.others | changed  # fmt: skip
        path = self.folder / "job.json"
        path.write_text(job_text(**told))
        before = self.computed
        at_most_once(path, lambda: self.compute(Job.read(path)))
        return self.computed - before

    def compute(self, job):
        self.computed += 1
        one, many = job.outputs
        one.parent.mkdir(parents=True, exist_ok=True)
        one.write_bytes(b"".join(sorted(path.read_bytes() for path in job.inputs[1].rglob("*") if path.is_file())))
        shutil.rmtree(many, ignore_errors=True)
        (many / "deep").mkdir(parents=True)
        (many / "deep" / "c.bin").write_bytes(job.inputs[0].read_bytes() * 2)
        (many / "d.bin").write_bytes(b"d")

    @property
    def outputs(self):
        made = self.folder / "results" / "x"
        return {path.relative_to(made).as_posix(): path.read_bytes() for path in made.rglob("*") if path.is_file()}

    @property
    def store(self):
        return Path(self.others.get("store", self.folder / "results" / ".kept"))

    def kept(self):
        return [entry for _, entry in everything(self.store) if entry]
