"""An AWS on this machine that really trains: SageMaker jobs as subprocesses, the rest by moto.

Start it with ``python -m fmrec.local_aws``; docs/local-aws.md says what it implements.
"""
