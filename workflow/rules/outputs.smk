rule segment:
    input:
        probabilities=places.ensembles(),
        calibration=graph.calibration,
        anatomy=fetched(graph.anatomy_of_objects),
    output:
        segments=directory(places.segments()),
    log:
        places.log("segment/{ensemble}/{shard}"),
    benchmark:
        places.benchmark("segment/{ensemble}/{shard}")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        limits=graph.limits,
    params:
        order=order("segment"),
        calibration=places.calibration(),
        code=code("segments.segment"),
        seen=graph.seen(graph.anatomy_of_objects),
        job=job("segment", "segments.segment"),
    message:
        "Objects of {wildcards.shard} from {wildcards.ensemble}"
    shell:
        "tilewright segment --job {params.job:q} --order {params.order:q} --probabilities {input.probabilities:q}"
        " --calibration {params.calibration:q} --limits {resources.limits:q} --out {output.segments:q} 2> {log:q}"


rule encode:
    input:
        segments=[places.segments(shard=shard) for shard in project.tested],
        sample=graph.sample_submission,
    output:
        submission=report(
            places.submission(),
            caption="../report/submission.rst",
            category="Submission",
            labels={"ensemble": "{ensemble}"},
        ),
    log:
        places.log("encode/{ensemble}"),
    benchmark:
        places.benchmark("encode/{ensemble}")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        order=order("encode"),
        segments=folder(places.segments()),
        code=code("segments.encode"),
        seen=graph.seen(graph.sample_submission),
        job=job("encode", "segments.encode"),
    message:
        "Submission of {wildcards.ensemble}"
    shell:
        "tilewright encode --job {params.job:q} --order {params.order:q} --segments {params.segments:q} --out {output.submission:q} 2> {log:q}"


rule measure:
    input:
        segments=graph.all_segments,
        scaled=graph.all_scaled,
    output:
        slides=report(
            places.slides(),
            caption="../report/slides.rst",
            category="Overview",
        ),
    log:
        places.log("measure"),
    benchmark:
        places.benchmark("measure")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        order=order("measure"),
        results=folder(places.slides()),
        code=code("segments.measure"),
        job=job("measure", "segments.measure"),
    message:
        "What each class amounts to"
    shell:
        "tilewright measure --job {params.job:q} --order {params.order:q} --results {params.results:q} --out {output.slides:q} 2> {log:q}"


rule evaluate:
    input:
        segments=graph.evaluated_segments,
        masks=graph.evaluated_masks,
    output:
        metrics=directory(places.metrics()),
    log:
        places.log("evaluate/{ensemble}"),
    benchmark:
        places.benchmark("evaluate/{ensemble}")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        order=order("evaluate"),
        segments=folder(places.segments()),
        masks=folder(places.masks()),
        code=code("evaluation.evaluate"),
        job=job("evaluate", "evaluation.evaluate"),
    message:
        "Metrics of {wildcards.ensemble}"
    shell:
        "tilewright evaluate --job {params.job:q} --order {params.order:q} --masks {params.masks:q} --segments {params.segments:q}"
        " --out {output.metrics:q} 2> {log:q}"


rule audit:
    input:
        segments=graph.audited(places.segments),
        probabilities=graph.audited(places.ensembles),
        masks=graph.audited_masks,
    output:
        audit=directory(places.audit()),
    log:
        places.log("audit/{ensemble}"),
    benchmark:
        places.benchmark("audit/{ensemble}")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        order=order("audit"),
        segments=folder(places.segments()),
        probabilities=folder(places.ensembles()),
        masks=folder(places.masks()),
        code=code("evaluation.audit"),
        job=job("audit", "evaluation.audit"),
    message:
        "Outlines that {wildcards.ensemble} contradicts"
    shell:
        "tilewright audit --job {params.job:q} --order {params.order:q} --masks {params.masks:q} --probabilities {params.probabilities:q}"
        " --segments {params.segments:q} --out {output.audit:q} 2> {log:q}"
