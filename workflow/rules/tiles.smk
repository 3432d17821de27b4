rule tile:
    input:
        scaled=project.scale_of_tiles,
        masks="<results>/masks/{shard}",
        anatomy=fetched(project.anatomy_of_tiles),
    output:
        archive="<results>/tiles/{tiles}/{shard}.h5",
    log:
        "<logs>/tile/{tiles}/{shard}.log",
    benchmark:
        "<benchmarks>/tile/{tiles}/{shard}.tsv"
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
        settings=settings("tile"),
        rows=rows("source", "labelled"),
        code=code("tiles.tile"),
    message:
        "Tiles {wildcards.tiles} of {wildcards.shard}"
    shell:
        "tilewright tile {wildcards.shard:q} --sheet {params.sheet:q} --data {params.data:q} --scaled {input.scaled:q}"
        " --masks {input.masks:q} --settings {params.settings:q} --limits {resources.limits:q}"
        " --out {output.archive:q} 2> {log:q}"


localrules:
    split,


rule split:
    input:
        file=project.folds_file,
    output:
        folds="<results>/folds.csv",
    log:
        "<logs>/split.log",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    params:
        sheet=SHEET,
        data=DATA,
        settings=settings("split"),
        rows=project.training_rows,
        code=code("tiles.split"),
    message:
        "Folds"
    shell:
        "tilewright split --sheet {params.sheet:q} --data {params.data:q} --settings {params.settings:q}"
        " --out {output.folds:q} 2> {log:q}"
