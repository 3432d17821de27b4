ruleorder: downscale_in_one_pass > downscale


rule downscale_in_one_pass:
    input:
        images=fetched(graph.images),
        masks=graph.masks,
    output:
        scaled=directory([places.scaled(scale) for scale in ONE_PASS]),
    log:
        places.log("downscale/one_pass/{shard}"),
    benchmark:
        places.benchmark("downscale/one_pass/{shard}")
    conda:
        "../../envs/environment.yaml"
    threads: demands.reading_threads
    resources:
        mem_mb=2000,
        runtime=120,
        limits=graph.limits,
    params:
        order=order("downscale_in_one_pass"),
        masks=places.masks(),
        code=code("scales.downscale"),
        seen=graph.seen(graph.images),
        job=job("downscale_in_one_pass", "scales.downscale"),
    message:
        "{wildcards.shard} at several scales"
    shell:
        "tilewright downscale --job {params.job:q} --order {params.order:q} --masks {params.masks:q} --limits {resources.limits:q}"
        " --threads {threads} --out {output.scaled:q} 2> {log:q}"
