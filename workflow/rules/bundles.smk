rule pack:
    input:
        models=graph.trained,
        calibration=places.calibration(),
        weights=graph.fitted_weights,
        scaled=graph.told_by_bundle,
        bundles=graph.bundles,
    output:
        bundle=directory(places.bundle()),
    log:
        places.log("pack/{ensemble}"),
    benchmark:
        places.benchmark("pack/{ensemble}")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        order=order("pack"),
        models=places.all_models(),
        weights=places.weights(),
        scaled=graph.truth_folder,
        code=code("bundles.pack"),
        seen=graph.seen(graph.bundles),
        job=job("pack", "bundles.pack"),
    message:
        "Bundle of {wildcards.ensemble}"
    shell:
        "tilewright pack --job {params.job:q} --order {params.order:q} --models {params.models:q} --calibration {input.calibration:q}"
        " --weights {params.weights:q} --scaled {params.scaled:q} --out {output.bundle:q} 2> {log:q}"
