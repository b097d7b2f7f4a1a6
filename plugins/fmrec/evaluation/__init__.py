"""What the scores are worth: metrics, baselines, paired comparison, and the report."""
