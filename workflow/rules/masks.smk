rule rasterize:
    input:
        images=fetched(project.images),
        annotations=fetched(project.annotations),
    output:
        masks=directory("<results>/masks/{shard}"),
    log:
        "<logs>/rasterize/{shard}.log",
    benchmark:
        "<benchmarks>/rasterize/{shard}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
        limits=project.limits,
    params:
        sheet=SHEET,
        data=DATA,
        settings=settings("rasterize"),
        rows=rows("image", "annotations", "region"),
        code=code("masks.rasterize"),
    message:
        "Outlines of {wildcards.shard} to masks"
    shell:
        "tilewright rasterize {wildcards.shard:q} --sheet {params.sheet:q} --data {params.data:q}"
        " --settings {params.settings:q} --limits {resources.limits:q} --out {output.masks:q} 2> {log:q}"


rule downscale:
    input:
        images=fetched(project.images),
        masks="<results>/masks/{shard}",
    output:
        scaled=directory("<results>/scaled/{scale}/{shard}"),
    log:
        "<logs>/downscale/{scale}/{shard}.log",
    benchmark:
        "<benchmarks>/downscale/{scale}/{shard}.tsv"
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
        settings=settings("downscale"),
        rows=rows("image", "region", "mpp"),
        code=code("scales.downscale"),
    message:
        "{wildcards.shard} at the scale {wildcards.scale}"
    shell:
        "tilewright downscale {wildcards.shard:q} --sheet {params.sheet:q} --data {params.data:q}"
        " --masks {input.masks:q} --settings {params.settings:q} --out {output.scaled:q}"
        " --limits {resources.limits:q} --threads {threads} 2> {log:q}"
