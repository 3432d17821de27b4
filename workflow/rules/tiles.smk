rule tile:
    input:
        scaled=graph.scaled_for_tiles,
        masks=places.masks(),
        anatomy=fetched(graph.anatomy_of_tiles),
    output:
        archive=places.tiles(),
    log:
        places.log("tile/{tiles}/{shard}"),
    benchmark:
        places.benchmark("tile/{tiles}/{shard}")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
        limits=graph.limits,
    params:
        order=order("tile"),
        code=code("tiles.tile"),
        seen=graph.seen(graph.anatomy_of_tiles),
        job=job("tile", "tiles.tile"),
    message:
        "Tiles {wildcards.tiles} of {wildcards.shard}"
    shell:
        "tilewright tile --job {params.job:q} --order {params.order:q} --scaled {input.scaled:q} --masks {input.masks:q}"
        " --limits {resources.limits:q} --out {output.archive:q} 2> {log:q}"


rule split:
    input:
        file=graph.folds_file,
    output:
        folds=places.folds(),
    log:
        places.log("split"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    threads: 1
    params:
        order=order("split"),
        code=code("tiles.split"),
        seen=graph.seen(graph.folds_file),
        job=job("split", "tiles.split"),
    message:
        "Folds"
    shell:
        "tilewright split --job {params.job:q} --order {params.order:q} --out {output.folds:q} 2> {log:q}"
