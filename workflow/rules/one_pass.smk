ruleorder: downscale_in_one_pass > downscale


rule downscale_in_one_pass:
    input:
        images=fetched(project.images),
        masks="<results>/masks/{shard}",
    output:
        scaled=directory(expand("<results>/scaled/{scale}/{{shard}}", scale=ONE_PASS)),
    log:
        "<logs>/downscale/one_pass/{shard}.log",
    benchmark:
        "<benchmarks>/downscale/one_pass/{shard}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: project.reading_threads
    resources:
        mem_mb=2000,
        runtime=120,
        limits=project.limits,
    params:
        sheet=SHEET,
        data=DATA,
        settings=project.one_pass_settings,
        rows=rows("image", "region", "mpp"),
        code=code("scales.downscale"),
    message:
        "{wildcards.shard} at several scales"
    shell:
        "tilewright downscale {wildcards.shard:q} --sheet {params.sheet:q} --data {params.data:q}"
        " --masks {input.masks:q} --settings {params.settings:q} --out {output.scaled:q}"
        " --limits {resources.limits:q} --threads {threads} 2> {log:q}"
