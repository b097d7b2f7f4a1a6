"""Factorization Machines as a SageMaker algorithm container.

``python -m fmrec.fm train`` and ``python -m fmrec.fm serve`` follow SageMaker's container
contract; hyperparameters, log lines, artifact and inference formats are those of the built-in
Factorization Machines algorithm. Equation: Rendle, "Factorization Machines", ICDM 2010.
"""
