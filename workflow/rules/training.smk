rule pseudo:
    input:
        members=project.pseudo_members,
        scaled=project.scale_of_model,
        anatomy=fetched(project.anatomy_of_pseudo_tiles),
    output:
        archive="<results>/pseudo/{model}/fold{fold}/{shard}.h5",
    log:
        "<logs>/pseudo/{model}/fold{fold}/{shard}.log",
    benchmark:
        "<benchmarks>/pseudo/{model}/fold{fold}/{shard}.tsv"
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
        settings=settings("pseudo"),
        rows=rows("source"),
        code=code("inference.pseudo"),
    message:
        "Pseudo-labels of {wildcards.shard} for {wildcards.model}, fold {wildcards.fold}"
    shell:
        "tilewright pseudo {wildcards.shard:q} --sheet {params.sheet:q} --data {params.data:q}"
        " --members {input.members:q} --scaled {input.scaled:q} --settings {params.settings:q}"
        " --limits {resources.limits:q} --out {output.archive:q} 2> {log:q}"


rule train:
    input:
        folds="<results>/folds.csv",
        tiles=project.training_tiles,
        pseudo=project.pseudo_tiles,
        encoder=project.encoder_weights,
    output:
        weights="<results>/models/{model}/fold{fold}/model.safetensors",
        model="<results>/models/{model}/fold{fold}/model.json",
        history="<results>/models/{model}/fold{fold}/history.csv",
        curves=report(
            "<results>/models/{model}/fold{fold}/curves.png",
            caption="../report/curves.rst",
            category="Training",
            labels={"model": "{model}", "fold": "{fold}"},
        ),
    log:
        "<logs>/train/{model}/fold{fold}.log",
    benchmark:
        "<benchmarks>/train/{model}/fold{fold}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: project.training_threads
    resources:
        mem_mb=8000,
        runtime=720,
        gpu=project.training_gpus,
        workers=project.loading_workers,
    params:
        sheet=SHEET,
        data=DATA,
        rows=project.pseudo_rows,
        pseudo=project.pseudo_folder,
        settings=settings("train"),
        tiles=project.tiles_folder,
        out=subpath(output.model, parent=True),
        code=code("training.train"),
    message:
        "Train {wildcards.model}, fold {wildcards.fold}"
    shell:
        "tilewright train {wildcards.model:q} --fold {wildcards.fold} --folds {input.folds:q} --tiles {params.tiles:q}"
        " --sheet {params.sheet:q} --data {params.data:q} --pseudo {params.pseudo:q} --workers {resources.workers}"
        " --settings {params.settings:q} --out {params.out:q} 2> {log:q}"
