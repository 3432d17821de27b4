"""What a run of the graph tells while it runs: steps done and running, failures, what to open."""
