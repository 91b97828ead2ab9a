"""Plugins of the embedded Airflow's API server, which loads the files of this folder."""
