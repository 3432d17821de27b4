rule rasterize:
    input:
        images=fetched(graph.images),
        annotations=fetched(graph.annotations),
        corrections=graph.corrections,
    output:
        masks=directory(places.masks()),
    log:
        places.log("rasterize/{shard}"),
    benchmark:
        places.benchmark("rasterize/{shard}")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
        limits=graph.limits,
    params:
        order=order("rasterize"),
        index=places.index(),
        code=code("masks.rasterize"),
        seen=graph.seen(graph.images, graph.annotations, graph.corrections),
        job=job("rasterize", "masks.rasterize"),
    message:
        "Outlines of {wildcards.shard} to masks"
    shell:
        "tilewright rasterize --job {params.job:q} --order {params.order:q} --limits {resources.limits:q} --index {params.index:q}"
        " --out {output.masks:q} 2> {log:q}"


rule downscale:
    input:
        images=fetched(graph.images),
        masks=graph.masks,
    output:
        scaled=directory(places.scaled()),
    log:
        places.log("downscale/{scale}/{shard}"),
    benchmark:
        places.benchmark("downscale/{scale}/{shard}")
    conda:
        "../../envs/environment.yaml"
    threads: demands.reading_threads
    resources:
        mem_mb=2000,
        runtime=120,
        limits=graph.limits,
    params:
        order=order("downscale"),
        masks=places.masks(),
        code=code("scales.downscale"),
        seen=graph.seen(graph.images),
        job=job("downscale", "scales.downscale"),
    message:
        "{wildcards.shard} at the scale {wildcards.scale}"
    shell:
        "tilewright downscale --job {params.job:q} --order {params.order:q} --masks {params.masks:q} --limits {resources.limits:q}"
        " --threads {threads} --out {output.scaled:q} 2> {log:q}"
