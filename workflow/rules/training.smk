rule train:
    input:
        folds="<results>/folds.csv",
        tiles=project.training_tiles,
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
        gpu=GPU,
    params:
        settings=settings("train"),
        tiles=project.tiles_folder,
        out=subpath(output.model, parent=True),
        code=code("training.fit"),
    message:
        "Train {wildcards.model}, fold {wildcards.fold}"
    shell:
        "tilewright train {wildcards.model:q} --fold {wildcards.fold} --folds {input.folds:q} --tiles {params.tiles:q}"
        " --settings {params.settings:q} --out {params.out:q} 2> {log:q}"
