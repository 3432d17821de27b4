"""What the jobs of a dry run ask for."""

from snakemake_logger_plugin_tilewright.asked import Asked, asked_table


def test_a_line_a_rule_with_the_most_of_its_jobs_and_columns_that_someone_asks_for():
    event = {"rule_name": "train", "threads": 3, "resources": {"mem_mb": 4000, "gpu": 1, "slurm_partition": "a100"}}
    jobs = [
        Asked("tile", 1, {"mem_mb": 1500, "runtime": 60, "gpu": 0}),
        Asked.of(event),
        Asked("train", 5, {"mem_mb": 12000, "runtime": 720, "gpu": 1, "slurm_partition": "h100"}),
        Asked("tile", 1, {"mem_mb": 900, "runtime": "<TBD>"}),
    ]
    assert asked_table(jobs).splitlines() == [
        "Each job asks for at most:",
        "rule   jobs  cpus  mem_mb   minutes  gpu  partition",
        "tile      2     1    1500  60,<TBD>",
        "train     2     5   12000       720    1  a100,h100",
    ]
