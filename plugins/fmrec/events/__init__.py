"""From ratings to what a model reads: the window, the split, the columns, the labels."""
