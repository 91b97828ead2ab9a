"""Engines render a plan and run it: local on this machine, airflow as a DAG, kfp on a cluster."""
