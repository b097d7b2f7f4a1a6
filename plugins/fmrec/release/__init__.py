"""What may become the champion: the gate, and the history of those that did."""
