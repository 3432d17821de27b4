# The graph of graph.py with nothing in its rules but inputs, outputs and a command: what Snakemake itself takes for it.

SHARDS = [f"h{number:05d}" for number in range(config["shards"])]
TESTED = SHARDS[4::5]
FOLD = {shard: number % 5 for number, shard in enumerate(sorted(set(SHARDS) - set(TESTED)))}
MODELS = ["one", "two", "three", "four"]
MEMBERS = {"all": MODELS, "half": MODELS[:2]}


def networks(wildcards):
    return expand(
        "results/models/{model}/fold{fold}/{file}",
        model=wildcards.model,
        fold=[FOLD[wildcards.shard]] if wildcards.shard in FOLD else range(5),
        file=["model.safetensors", "model.json"],
    )


def predictions(wildcards):
    models, shard = MEMBERS[wildcards.ensemble], wildcards.shard
    return expand("results/probabilities/{model}/{shard}", model=models, shard=shard)


wildcard_constraints:
    shard="h[0-9]+",
    fold="[0-9]",


rule all:
    input:
        expand("results/submission/{ensemble}.csv", ensemble=MEMBERS),
        expand("results/metrics/{ensemble}", ensemble=MEMBERS),
        expand("results/audit/{ensemble}", ensemble=MEMBERS),
        expand("results/bundles/{ensemble}", ensemble=MEMBERS),
        "results/slides.csv",
        "results/report",


rule rasterize:
    output:
        directory("results/masks/{shard}"),
    shell:
        "true"


rule downscale:
    input:
        "results/masks/{shard}",
    output:
        directory("results/scaled/{shard}"),
    shell:
        "true"


rule tile:
    input:
        "results/scaled/{shard}",
        "results/masks/{shard}",
    output:
        "results/tiles/{shard}.h5",
    shell:
        "true"


rule split:
    output:
        "results/folds.csv",
    shell:
        "true"


rule train:
    input:
        "results/folds.csv",
        expand("results/tiles/{shard}.h5", shard=FOLD),
    output:
        "results/models/{model}/fold{fold}/model.safetensors",
        "results/models/{model}/fold{fold}/model.json",
        "results/models/{model}/fold{fold}/curves.png",
    shell:
        "true"


rule predict:
    input:
        networks,
        "results/scaled/{shard}",
    output:
        directory("results/probabilities/{model}/{shard}"),
    shell:
        "true"


rule seams:
    input:
        "results/models/{model}/fold0/model.safetensors",
        "results/models/{model}/fold0/model.json",
        "results/scaled/h00000",
    output:
        "results/seams/{model}.json",
    shell:
        "true"


rule ensemble:
    input:
        predictions,
    output:
        directory("results/ensembles/{ensemble}/{shard}"),
    shell:
        "true"


rule calibrate:
    input:
        "results/folds.csv",
        expand("results/ensembles/{{ensemble}}/{shard}", shard=FOLD),
        expand("results/scaled/{shard}", shard=FOLD),
        expand("results/masks/{shard}", shard=FOLD),
    output:
        "results/calibration/{ensemble}.json",
    shell:
        "true"


rule pack:
    input:
        lambda wildcards: expand(
            "results/models/{model}/fold{fold}/{file}",
            model=MEMBERS[wildcards.ensemble],
            fold=range(5),
            file=["model.safetensors", "model.json"],
        ),
        "results/calibration/{ensemble}.json",
        expand("results/scaled/{shard}", shard=FOLD),
    output:
        directory("results/bundles/{ensemble}"),
    shell:
        "true"


rule segment:
    input:
        "results/ensembles/{ensemble}/{shard}",
        "results/calibration/{ensemble}.json",
    output:
        directory("results/segments/{ensemble}/{shard}"),
    shell:
        "true"


rule encode:
    input:
        expand("results/segments/{{ensemble}}/{shard}", shard=TESTED),
    output:
        "results/submission/{ensemble}.csv",
    shell:
        "true"


rule measure:
    input:
        expand("results/segments/{ensemble}/{shard}", ensemble=MEMBERS, shard=SHARDS),
        expand("results/scaled/{shard}", shard=SHARDS),
    output:
        "results/slides.csv",
    shell:
        "true"


rule evaluate:
    input:
        expand("results/segments/{{ensemble}}/{shard}", shard=SHARDS),
        expand("results/masks/{shard}", shard=SHARDS),
    output:
        directory("results/metrics/{ensemble}"),
    shell:
        "true"


rule audit:
    input:
        expand("results/segments/{{ensemble}}/{shard}", shard=FOLD),
        expand("results/ensembles/{{ensemble}}/{shard}", shard=FOLD),
        expand("results/masks/{shard}", shard=FOLD),
    output:
        directory("results/audit/{ensemble}"),
    shell:
        "true"


rule report:
    input:
        expand("results/models/{model}/fold{fold}/curves.png", model=MODELS, fold=range(5)),
        expand("results/seams/{model}.json", model=MODELS),
        expand("results/segments/{ensemble}/{shard}", ensemble=MEMBERS, shard=SHARDS),
        expand("results/metrics/{ensemble}", ensemble=MEMBERS),
        expand("results/audit/{ensemble}", ensemble=MEMBERS),
        expand("results/calibration/{ensemble}.json", ensemble=MEMBERS),
        expand("results/scaled/{shard}", shard=SHARDS),
        expand("results/masks/{shard}", shard=SHARDS),
    output:
        directory("results/report"),
    shell:
        "true"
