"""The embedded stack of ``make run``: Airflow, MLflow and the gRPC server on loopback, for one checkout.

Each server is one module with three functions, which `up` and `down` call::

    start(settings: Settings, port: int) -> Service    spawn it with `processes.spawn`; return at once
    ready(service: Service) -> bool                    does it answer? never raises
    stop(service: Service) -> None                     end it and all it started; no error if it is gone
"""
