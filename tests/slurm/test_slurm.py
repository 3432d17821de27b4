"""The profile for clusters on a real SLURM.

End to end, out of time, cancelled, requeued, a node and both controllers lost.

``make test-slurm`` runs this; it needs root and Debian's slurm-wlm and munge.
"""

import csv
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from running import PROGRAMS, REPOSITORY, ended, wait_until
from storing import move, server

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.timeout(1500)]

TRAINED = "results/models/far/fold0/model.safetensors"
MASKS = "results/masks/b"


@pytest.fixture(scope="module")
def whole(on_cluster, tmp_path_factory):
    """A project after a run of the whole graph on the cluster."""
    project = on_cluster(tmp_path_factory.mktemp("whole"))
    project.run()
    return project


def test_the_whole_graph_gives_what_one_machine_gives(whole, finished):
    places = ("folds.csv", "masks", "scaled", "tiles", "submission", "segments", "metrics")
    ours = {path.removeprefix(str(whole.graph.results)): value for path, value in whole.graph.hashes(*places).items()}
    local = {path.removeprefix(str(finished.results)): value for path, value in finished.hashes(*places).items()}
    assert ours == local
    assert whole.graph.jobs() == {}


def test_the_short_steps_of_a_shard_are_one_job(whole):
    jobs = {}
    for step in whole.shim.steps():
        if step.verb in ("rasterize", "downscale", "tile"):
            jobs.setdefault(Path(step.made).stem, set()).add(step.job)
    assert set(jobs) == {"a", "b", "x1", "t"}
    assert all(len(numbers) == 1 for numbers in jobs.values())


def test_a_bundle_is_applied_by_the_nodes(whole, tmp_path):
    """By the profile for clusters, with shorter waits; to the masks that the graph which made the bundle has."""
    profile = yaml.safe_load((REPOSITORY / "profiles" / "slurm" / "config.yaml").read_text())
    profile |= {"slurm-init-seconds-before-status-checks": 1, "seconds-between-status-checks": 1, "latency-wait": 5}
    profile |= {"slurm-no-account": True}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text(yaml.safe_dump(profile))
    shutil.copytree(whole.graph.results / "bundles" / "both", tmp_path / "glands")
    slides = whole.graph.project.sheet.parent
    (tmp_path / "rows.csv").write_text(f"slide,image,shard\nt1,{slides}/t1.tif,t\nt2,{slides}/t2.png,t\n")
    command = [PROGRAMS / "tilewright", "apply", "glands", "rows.csv", "--out", "out", "--profile", "mine"]
    patches = whole.patched()["PYTHONPATH"].split(os.pathsep)[1]
    environment = {**os.environ, "PYTHONPATH": patches}
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environment)
    assert printed.returncode == 0, printed.stdout + printed.stderr
    said = max((tmp_path / "out" / ".snakemake" / "log").iterdir()).read_text()
    assert "SLURM jobid" in said
    ours, theirs = (each / "segments" / "both" / "t" for each in (tmp_path / "out" / "results", whole.graph.results))
    for name in ("t1.mask.tif", "t2.mask.tif", "t1.objects.parquet"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    with (tmp_path / "out" / "results" / "submission" / "both.csv").open(newline="") as stream:
        assert [row["id"] for row in csv.DictReader(stream)] == ["t1", "t1", "t2", "t2"]


def test_each_training_starts_once_and_has_a_gpu_of_its_own(whole):
    trainings = [step for step in whole.shim.steps() if step.verb == "train"]
    assert len(trainings) == 4
    assert {step.node for step in trainings} == {"node1"}
    assert {step.gpus for step in trainings} == {"0", "1"}
    for one, other in itertools.combinations(trainings, 2):
        if float(one.begin) < float(other.end) and float(other.begin) < float(one.end):
            assert one.gpus != other.gpus, "two trainings had the same GPU at once"


def test_what_was_made_before_is_taken_by_a_job_of_the_cluster(whole):
    before = whole.graph.hashes("models/far/fold0")
    shutil.rmtree(whole.graph.results / "models" / "far" / "fold0")
    whole.run(TRAINED)
    log = whole.graph.results / "logs" / "train" / "far" / "fold0.log"
    assert log.read_text().startswith("kept since ")
    assert whole.graph.hashes("models/far/fold0") == before


def test_a_training_out_of_time_goes_on_in_the_next_attempt(on_cluster, cluster, tmp_path):
    project = on_cluster(tmp_path / "limit")
    config = project.graph.project.config()
    config["models"]["far"]["epochs"] = 3
    project.graph.project.write_config(config)
    with project.running(TRAINED, "--set-resources", "train:runtime=1", **held(project, tmp_path, epoch=1)) as process:
        wait_until(lambda: cluster.running("rule_train"), 300)
        ((first, _),) = cluster.running("rule_train")
        wait_until(lambda: not cluster.has(first), 180)
        (tmp_path / "go").touch()
        printed = ended(process)
    assert process.returncode == 0, printed

    log = (project.graph.results / "logs" / "train" / "far" / "fold0.log").read_text()
    assert "epoch 1/3" not in log, "the second attempt began anew"
    assert "epoch 2/3" in log
    history = pd.read_csv(project.graph.results / "models" / "far" / "fold0" / "history.csv")
    assert list(history["epoch"]) == [0, 1, 2]
    assert cluster.running("rule_train") == []


def held(project, folder, epoch):
    """Variables of the environment with which trainings stand before they save an epoch, until a file "go" appears."""
    return project.patched(PATCH.format(epoch=epoch, go=str(folder / "go")))


PATCH = """
import sys
if "train" in sys.argv:
    import os, time
    import lightning
    save = lightning.Trainer.save_checkpoint
    def held(self, *arguments, **options):
        while self.current_epoch >= {epoch} and not os.path.exists({go!r}):
            time.sleep(0.2)
        return save(self, *arguments, **options)
    lightning.Trainer.save_checkpoint = held
"""


@pytest.mark.parametrize("fault", ["cancel", "requeue", "node down"])
def test_a_job_that_is_lost_is_done_again(on_cluster, cluster, tmp_path, fault):
    project = on_cluster(tmp_path / "lost")
    with project.running(MASKS, fault="rasterize:b slow 60") as process:
        wait_until(project.shim.is_waiting)
        (number, node), *_ = cluster.running("rule_prepare")
        if fault == "cancel":
            subprocess.run(["scancel", number], check=True)
        elif fault == "requeue":
            cluster.control("requeue", number)
        else:
            cluster.control("update", f"nodename={node}", "state=down", "reason=test")
        try:
            printed = ended(process)
        finally:
            if fault == "node down":
                cluster.resume(node)
    assert process.returncode == 0, printed
    assert [step[:2] for step in project.shim.steps()] == [("rasterize", "b")]
    names = {path.name for path in (project.graph.results / "masks").iterdir()}
    assert names == {"b"}, "something half was left"


def test_the_slurm_controller_may_be_away_for_a_while(on_cluster, cluster, tmp_path):
    project = on_cluster(tmp_path / "away")
    with project.running(MASKS, fault="rasterize:b slow 10") as process:
        wait_until(project.shim.is_waiting)
        cluster.do("stop-controller")
        time.sleep(15)
        assert process.poll() is None
        cluster.do("start-controller")
        printed = ended(process)
    assert process.returncode == 0, printed
    assert [step[:2] for step in project.shim.steps()] == [("rasterize", "b")]


def test_slides_elsewhere_are_fetched_once_for_all_jobs(on_cluster, finished, tmp_path):
    log = tmp_path / "requests"
    project = on_cluster(tmp_path / "elsewhere")
    with server(log) as address:
        keys = move(project.graph.project, address)
        project.run(MASKS, "results/scaled/half/b", **keys)
    ours = project.graph.hashes("masks/b", "scaled/half/b")
    assert list(ours.values()) == list(finished.hashes("masks/b", "scaled/half/b").values())
    fetched = re.findall(r"GET /\S+/a-folder/([^\s?]+) ", log.read_text())
    assert fetched
    assert len(fetched) == len(set(fetched))


def test_after_snakemake_was_killed_no_second_training_writes_beside_the_first(on_cluster, cluster, finished, tmp_path):
    project = on_cluster(tmp_path / "killed")
    with project.running(TRAINED, **held(project, tmp_path, epoch=0)) as process:
        wait_until(lambda: cluster.running("rule_train") and project.has_state("far", 0), 300)
        ((first, _),) = cluster.running("rule_train")
        os.killpg(process.pid, signal.SIGKILL)
    # as its message says
    project.graph.run("--unlock")
    with project.running(TRAINED, retries=0) as process:
        refused = ended(process)
    assert cluster.running("rule_train") == [(first, "node1")], "the first one goes on"
    assert process.returncode != 0
    assert "is in use by process" in refused

    (tmp_path / "go").touch()
    wait_until(lambda: not cluster.running("rule_train"))
    project.run(TRAINED)
    ours = project.graph.hashes("models/far/fold0/model.safetensors")
    assert list(ours.values()) == list(finished.hashes("models/far/fold0/model.safetensors").values())
