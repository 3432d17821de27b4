rule pseudo:
    input:
        members=graph.pseudo_members,
        scaled=graph.scaled_for_model,
        anatomy=fetched(graph.anatomy_of_pseudo_tiles),
    output:
        archive=places.pseudo(),
    log:
        places.log("pseudo/{model}/{part}/{shard}"),
    benchmark:
        places.benchmark("pseudo/{model}/{part}/{shard}")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        limits=graph.limits,
    params:
        order=order("pseudo"),
        code=code("inference.pseudo"),
        seen=graph.seen(graph.anatomy_of_pseudo_tiles),
        job=job("pseudo", "inference.pseudo"),
    message:
        "Pseudo-labels of {wildcards.shard} for {wildcards.model}, {wildcards.part}"
    shell:
        "tilewright pseudo --job {params.job:q} --order {params.order:q} --members {input.members:q} --scaled {input.scaled:q}"
        " --limits {resources.limits:q} --out {output.archive:q} 2> {log:q}"


rule train:
    input:
        folds=places.folds(),
        tiles=graph.training_tiles,
        scaled=graph.training_scaled,
        pseudo=graph.pseudo_tiles,
        encoder=graph.encoder_weights,
        start=graph.start_weights,
    output:
        network=places.network(),
        card=places.card(),
        history=places.history(),
        curves=report(
            places.curves(),
            caption="../report/curves.rst",
            category="Training",
            labels={"model": "{model}", "fold": "{fold}"},
        ),
        batch=places.batch(),
    log:
        places.log("train/{model}/fold{fold}"),
    benchmark:
        places.benchmark("train/{model}/fold{fold}")
    conda:
        "../../envs/environment.yaml"
    threads: demands.training_threads
    resources:
        mem_mb=grown(demands.training_memory, places.log("train/{model}/fold{fold}")),
        runtime=720,
        gpu=demands.training_gpus,
        workers=demands.loading_workers,
    params:
        order=order("train"),
        tiles=graph.tiles_folder,
        scaled=graph.scaled_folder,
        pseudo=folder(places.pseudo(part="fold{fold}")),
        out=places.model(),
        code=code("training.train"),
        seen=graph.seen(graph.encoder_weights, graph.start_weights),
        job=job("train", "training.train"),
    message:
        "Train {wildcards.model}, fold {wildcards.fold}"
    shell:
        "tilewright train --job {params.job:q} --order {params.order:q} --model {wildcards.model:q} --fold {wildcards.fold}"
        " --folds {input.folds:q} --tiles {params.tiles:q} --scaled {params.scaled:q} --pseudo {params.pseudo:q}"
        " --workers {resources.workers} --out {params.out:q} 2> {log:q}"


rule refit:
    input:
        fitted=graph.fitted,
        tiles=graph.training_tiles,
        scaled=graph.training_scaled,
        pseudo=graph.pseudo_tiles,
        encoder=graph.encoder_weights,
        start=graph.start_weights,
    output:
        network=places.network(part=FINAL),
        card=places.card(part=FINAL),
        history=places.history(part=FINAL),
        curves=report(
            places.curves(part=FINAL),
            caption="../report/curves.rst",
            category="Training",
            labels={"model": "{model}", "fold": "all slides"},
        ),
        batch=places.batch(part=FINAL),
    log:
        places.log("refit/{model}"),
    benchmark:
        places.benchmark("refit/{model}")
    conda:
        "../../envs/environment.yaml"
    threads: demands.training_threads
    resources:
        mem_mb=grown(demands.training_memory, places.log("refit/{model}")),
        runtime=720,
        gpu=demands.training_gpus,
        workers=demands.loading_workers,
    params:
        order=order("refit"),
        fitted=graph.fitted_folders,
        tiles=graph.tiles_folder,
        scaled=graph.scaled_folder,
        pseudo=folder(places.pseudo(part=FINAL)),
        out=places.model(part=FINAL),
        code=code("training.refit"),
        seen=graph.seen(graph.encoder_weights, graph.start_weights),
        job=job("refit", "training.refit"),
    message:
        "Train {wildcards.model} on all training slides"
    shell:
        "tilewright refit --job {params.job:q} --order {params.order:q} --model {wildcards.model:q} --fitted {params.fitted:q}"
        " --tiles {params.tiles:q} --scaled {params.scaled:q} --pseudo {params.pseudo:q}"
        " --workers {resources.workers} --out {params.out:q} 2> {log:q}"
