rule predict:
    input:
        weights="<results>/models/{model}/fold{fold}/model.safetensors",
        model="<results>/models/{model}/fold{fold}/model.json",
        scaled=project.scale_of_model,
    output:
        probabilities=directory("<results>/probabilities/{model}/fold{fold}/{shard}"),
    log:
        "<logs>/predict/{model}/fold{fold}/{shard}.log",
    benchmark:
        "<benchmarks>/predict/{model}/fold{fold}/{shard}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: project.prediction_threads
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
    params:
        sheet=SHEET,
        data=DATA,
        settings=settings("predict"),
        model=subpath(input.model, parent=True),
        code=code("inference.predict"),
    message:
        "Predict {wildcards.shard} with {wildcards.model}, fold {wildcards.fold}"
    shell:
        "tilewright predict {wildcards.shard:q} --sheet {params.sheet:q} --data {params.data:q}"
        " --model {params.model:q} --scaled {input.scaled:q} --settings {params.settings:q}"
        " --out {output.probabilities:q} 2> {log:q}"


rule seams:
    input:
        weights="<results>/models/{model}/fold0/model.safetensors",
        model="<results>/models/{model}/fold0/model.json",
        scaled=project.seams_scaled,
    output:
        seams="<results>/seams/{model}.json",
    log:
        "<logs>/seams/{model}.log",
    benchmark:
        "<benchmarks>/seams/{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: project.prediction_threads
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=GPU,
    params:
        sheet=SHEET,
        data=DATA,
        shard=project.seams_shard,
        settings=settings("seams"),
        model=subpath(input.model, parent=True),
        code=code("inference.seams"),
    message:
        "Seams of {wildcards.model}"
    shell:
        "tilewright seams {params.shard:q} --sheet {params.sheet:q} --data {params.data:q} --model {params.model:q}"
        " --scaled {input.scaled:q} --settings {params.settings:q} --out {output.seams:q} 2> {log:q}"


rule weigh:
    input:
        folds="<results>/folds.csv",
        probabilities=project.weighed_probabilities,
        truth=project.truth,
    output:
        weights="<results>/weights/{ensemble}.json",
    log:
        "<logs>/weigh/{ensemble}.log",
    benchmark:
        "<benchmarks>/weigh/{ensemble}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        sheet=SHEET,
        data=DATA,
        settings=settings("weigh"),
        rows=project.training_rows,
        probabilities=project.probabilities,
        truth=project.truth_folder,
        code=code("inference.weigh"),
    message:
        "Weights of {wildcards.ensemble}"
    shell:
        "tilewright weigh --sheet {params.sheet:q} --data {params.data:q} --folds {input.folds:q}"
        " --probabilities {params.probabilities:q} --scaled {params.truth:q} --settings {params.settings:q}"
        " --out {output.weights:q} 2> {log:q}"


rule ensemble:
    input:
        members=project.predictions,
        weights=project.fitted_weights,
    output:
        probabilities=directory("<results>/ensembles/{ensemble}/{shard}"),
    log:
        "<logs>/ensemble/{ensemble}/{shard}.log",
    benchmark:
        "<benchmarks>/ensemble/{ensemble}/{shard}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        sheet=SHEET,
        data=DATA,
        settings=settings("ensemble"),
        weights=project.weights_file,
        code=code("inference.ensemble"),
    message:
        "Ensemble {wildcards.ensemble} of {wildcards.shard}"
    shell:
        "tilewright ensemble {wildcards.shard:q} --sheet {params.sheet:q} --data {params.data:q}"
        " --members {input.members:q} --weights {params.weights:q} --settings {params.settings:q}"
        " --out {output.probabilities:q} 2> {log:q}"


rule calibrate:
    input:
        folds="<results>/folds.csv",
        probabilities=project.validated_probabilities,
        truth=project.truth,
        masks=expand("<results>/masks/{shard}", shard=project.validated),
    output:
        calibration="<results>/calibration/{ensemble}.json",
    log:
        "<logs>/calibrate/{ensemble}.log",
    benchmark:
        "<benchmarks>/calibrate/{ensemble}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        sheet=SHEET,
        data=DATA,
        settings=settings("calibrate"),
        rows=project.training_rows,
        probabilities=project.probabilities_folder,
        truth=project.truth_folder,
        masks=project.masks_folder,
        code=code("inference.calibrate"),
    message:
        "Thresholds of {wildcards.ensemble}"
    shell:
        "tilewright calibrate --sheet {params.sheet:q} --data {params.data:q} --folds {input.folds:q}"
        " --probabilities {params.probabilities:q} --scaled {params.truth:q} --masks {params.masks:q}"
        " --settings {params.settings:q} --out {output.calibration:q} 2> {log:q}"
