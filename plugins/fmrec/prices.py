"""What SageMaker jobs cost."""
