"""What a request and an answer of AWS are: JSON by the service model, constraints, errors."""
