"""`python -m fmrec …`: the pipeline on a laptop. The package's composition root."""
