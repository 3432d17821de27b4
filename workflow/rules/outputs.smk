rule segment:
    input:
        probabilities="<results>/ensembles/{ensemble}/{shard}",
        calibration="<results>/calibration/{ensemble}.json",
        anatomy=fetched(project.anatomy_of_objects),
    output:
        segments=directory("<results>/segments/{ensemble}/{shard}"),
    log:
        "<logs>/segment/{ensemble}/{shard}.log",
    benchmark:
        "<benchmarks>/segment/{ensemble}/{shard}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        limits=project.limits,
    params:
        sheet=SHEET,
        data=DATA,
        settings=settings("segment"),
        code=code("segments.segment"),
    message:
        "Objects of {wildcards.shard} from {wildcards.ensemble}"
    shell:
        "tilewright segment {wildcards.shard:q} --sheet {params.sheet:q} --data {params.data:q}"
        " --probabilities {input.probabilities:q} --calibration {input.calibration:q}"
        " --settings {params.settings:q} --limits {resources.limits:q} --out {output.segments:q} 2> {log:q}"


rule encode:
    input:
        segments=expand("<results>/segments/{{ensemble}}/{shard}", shard=project.tested),
    output:
        submission=report(
            "<results>/submission/{ensemble}.csv",
            caption="../report/submission.rst",
            category="Submission",
            labels={"ensemble": "{ensemble}"},
        ),
    log:
        "<logs>/encode/{ensemble}.log",
    benchmark:
        "<benchmarks>/encode/{ensemble}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        sheet=SHEET,
        data=DATA,
        settings=settings("encode"),
        rows=all_rows("shard", roles=["test"]),
        segments=project.segments_folder,
        code=code("segments.encode"),
    message:
        "Submission of {wildcards.ensemble}"
    shell:
        "tilewright encode --sheet {params.sheet:q} --data {params.data:q} --segments {params.segments:q}"
        " --settings {params.settings:q} --out {output.submission:q} 2> {log:q}"


rule evaluate:
    input:
        segments=expand(
            "<results>/segments/{{ensemble}}/{shard}", shard=project.evaluated
        ),
        masks=expand("<results>/masks/{shard}", shard=project.evaluated),
    output:
        metrics=directory("<results>/metrics/{ensemble}"),
    log:
        "<logs>/evaluate/{ensemble}.log",
    benchmark:
        "<benchmarks>/evaluate/{ensemble}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        sheet=SHEET,
        data=DATA,
        settings=settings("evaluate"),
        rows=project.evaluated_rows,
        segments=project.segments_folder,
        masks=project.masks_folder,
        code=code("evaluation.evaluate"),
    message:
        "Metrics of {wildcards.ensemble}"
    shell:
        "tilewright evaluate --sheet {params.sheet:q} --data {params.data:q} --masks {params.masks:q}"
        " --segments {params.segments:q} --settings {params.settings:q} --out {output.metrics:q} 2> {log:q}"
