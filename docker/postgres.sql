-- The database of Airflow is made by the image; MLflow has its own.
CREATE DATABASE mlflow;
