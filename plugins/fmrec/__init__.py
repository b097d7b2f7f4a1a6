"""fmrec rebuilds a movie recommender on a schedule with Airflow and SageMaker."""

__version__ = "0.1.0"
