"""SageMaker's built-in algorithms k-NN and K-Means as containers for the local AWS.

``python -m fmrec.local_aws.built_in knn train`` (``serve``) and ``kmeans train`` (``serve``) follow
SageMaker's container contract. docs/built-in-algorithms.md says where they differ from AWS.
"""
