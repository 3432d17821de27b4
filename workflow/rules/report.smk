rule report:
    input:
        curves=graph.all_curves,
        seams=graph.all_seams,
        weights=graph.all_weights,
        segments=graph.all_segments,
        spreads=graph.all_spreads,
        metrics=graph.all_metrics,
        audits=graph.all_audits,
        calibrations=graph.all_calibrations,
        scaled=graph.all_scaled,
        masks=graph.all_evaluated_masks,
    output:
        report=report(
            directory(places.report()),
            caption="../report/report.rst",
            htmlindex="index.html",
            category="Overview",
        ),
    log:
        places.log("report"),
    benchmark:
        places.benchmark("report")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        order=order("report"),
        results=folder(places.report()),
        code=code("report.report"),
        job=job("report", "report.report"),
    message:
        "Report"
    shell:
        "tilewright report --job {params.job:q} --order {params.order:q} --results {params.results:q} --out {output.report:q} 2> {log:q}"
