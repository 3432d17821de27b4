rule report:
    input:
        folds="<results>/folds.csv",
        curves=project.all_curves,
        seams=project.all_seams,
        segments=project.all_segments,
        metrics=expand("<results>/metrics/{ensemble}", ensemble=ENSEMBLES),
        calibrations=expand("<results>/calibration/{ensemble}.json", ensemble=ENSEMBLES),
        scaled=project.all_truth,
        masks=expand("<results>/masks/{shard}", shard=project.evaluated),
    output:
        report=report(
            directory("<results>/report"),
            caption="../report/report.rst",
            htmlindex="index.html",
            category="Overview",
        ),
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        sheet=SHEET,
        data=DATA,
        settings=settings("report"),
        rows=all_rows("role", "source", "group", "shard", "labelled", "image", "region"),
        results=project.results_folder,
        code=code("report.report"),
    message:
        "Report"
    shell:
        "tilewright report --sheet {params.sheet:q} --data {params.data:q} --results {params.results:q}"
        " --settings {params.settings:q} --out {output.report:q} 2> {log:q}"
