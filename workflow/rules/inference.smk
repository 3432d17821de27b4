rule predict:
    input:
        networks=graph.networks,
        scaled=graph.scaled_for_model,
    output:
        probabilities=directory(places.probabilities()),
    log:
        places.log("predict/{model}/{shard}"),
    benchmark:
        places.benchmark("predict/{model}/{shard}")
    conda:
        "../../envs/environment.yaml"
    threads: demands.prediction_threads
    resources:
        mem_mb=grown(demands.prediction_memory, places.log("predict/{model}/{shard}")),
        runtime=240,
        gpu=demands.prediction_gpus,
    params:
        order=order("predict"),
        models=graph.networks_folders,
        code=code("inference.predict"),
        seen=graph.seen(graph.networks),
        job=job("predict", "inference.predict"),
    message:
        "Predict {wildcards.shard} with {wildcards.model}"
    shell:
        "tilewright predict --job {params.job:q} --order {params.order:q} --models {params.models:q} --scaled {input.scaled:q}"
        " --out {output.probabilities:q} 2> {log:q}"


rule adopt:
    input:
        saved=graph.saved,
        scaled=graph.scaled_for_predictions,
    output:
        probabilities=directory(places.probabilities("{predictions}")),
    log:
        places.log("adopt/{predictions}/{shard}"),
    benchmark:
        places.benchmark("adopt/{predictions}/{shard}")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        order=order("adopt"),
        code=code("inference.adopt"),
        seen=graph.seen(graph.saved),
        job=job("adopt", "inference.adopt"),
    message:
        "Saved predictions {wildcards.predictions} of {wildcards.shard}"
    shell:
        "tilewright adopt --job {params.job:q} --order {params.order:q} --scaled {input.scaled:q} --out {output.probabilities:q} 2> {log:q}"


rule seams:
    input:
        network=graph.seams_network,
        scaled=graph.scaled_for_seams,
    output:
        seams=places.seams(),
    log:
        places.log("seams/{model}"),
    benchmark:
        places.benchmark("seams/{model}")
    conda:
        "../../envs/environment.yaml"
    threads: demands.prediction_threads
    resources:
        mem_mb=grown(demands.prediction_memory, places.log("seams/{model}")),
        runtime=60,
        gpu=demands.prediction_gpus,
    params:
        order=order("seams"),
        model=graph.seams_model,
        code=code("inference.seams"),
        job=job("seams", "inference.seams"),
    message:
        "Seams of {wildcards.model}"
    shell:
        "tilewright seams --job {params.job:q} --order {params.order:q} --model {params.model:q} --scaled {input.scaled:q}"
        " --out {output.seams:q} 2> {log:q}"


rule weigh:
    input:
        folds=places.folds(),
        members=graph.out_of_fold,
        truth=graph.truth,
    output:
        weights=places.weights(),
    log:
        places.log("weigh/{ensemble}"),
    benchmark:
        places.benchmark("weigh/{ensemble}")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        order=order("weigh"),
        probabilities=places.all_probabilities(),
        truth=graph.truth_folder,
        code=code("inference.weigh"),
        job=job("weigh", "inference.weigh"),
    message:
        "Weights of {wildcards.ensemble}"
    shell:
        "tilewright weigh --job {params.job:q} --order {params.order:q} --folds {input.folds:q} --probabilities {params.probabilities:q}"
        " --scaled {params.truth:q} --out {output.weights:q} 2> {log:q}"


rule ensemble:
    input:
        members=graph.predictions,
        weights=graph.fitted_weights,
    output:
        probabilities=directory(places.ensembles()),
    log:
        places.log("ensemble/{ensemble}/{shard}"),
    benchmark:
        places.benchmark("ensemble/{ensemble}/{shard}")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        order=order("ensemble"),
        weights=places.weights(),
        code=code("inference.ensemble"),
        job=job("ensemble", "inference.ensemble"),
    message:
        "Ensemble {wildcards.ensemble} of {wildcards.shard}"
    shell:
        "tilewright ensemble --job {params.job:q} --order {params.order:q} --members {input.members:q} --weights {params.weights:q}"
        " --out {output.probabilities:q} 2> {log:q}"


rule calibrate:
    input:
        folds=places.folds(),
        probabilities=[places.ensembles(shard=shard) for shard in project.validated],
        truth=graph.truth,
        masks=[places.masks(shard) for shard in project.validated],
        anatomy=fetched(graph.anatomy_of_fitted_objects),
    output:
        calibration=places.calibration(),
    log:
        places.log("calibrate/{ensemble}"),
    benchmark:
        places.benchmark("calibrate/{ensemble}")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        limits=graph.limits,
    params:
        order=order("calibrate"),
        probabilities=folder(places.ensembles()),
        truth=graph.truth_folder,
        masks=folder(places.masks()),
        code=code("inference.calibrate"),
        seen=graph.seen(graph.anatomy_of_fitted_objects),
        job=job("calibrate", "inference.calibrate"),
    message:
        "Thresholds of {wildcards.ensemble}"
    shell:
        "tilewright calibrate --job {params.job:q} --order {params.order:q} --folds {input.folds:q}"
        " --probabilities {params.probabilities:q} --scaled {params.truth:q} --masks {params.masks:q}"
        " --limits {resources.limits:q} --out {output.calibration:q} 2> {log:q}"
