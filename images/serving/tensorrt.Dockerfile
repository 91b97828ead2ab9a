# The model server with its back end tensorrt, on NVIDIA's base, which brings CUDA and TensorRT 11 with its Python bindings.
# Never built by us: it takes NVIDIA's registry, and a GPU to try it. Python there is 3.12; the lock holds for it too.
#   DOCKER_BUILDKIT=1 docker build -f images/serving/tensorrt.Dockerfile -t fleetml/serving:tensorrt .
ARG BASE=nvcr.io/nvidia/tensorrt:26.10-py3

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home fleetml && mkdir -p /var/lib/fleetml && chown fleetml /var/lib/fleetml
WORKDIR /app
# TensorRT's bindings are those of the base's own Python.
RUN python3 -m venv --system-site-packages .venv/serving
COPY images/serving/requirements.txt images/serving/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    .venv/serving/bin/pip install --no-cache-dir --no-deps -r images/serving/requirements.txt \
    cuda-bindings==13.5.0 cuda-pathfinder==1.9.0
RUN echo /app/src > .venv/serving/lib/python3.12/site-packages/fleetml.pth
COPY images/images.toml images/
COPY feature_repo feature_repo
COPY src src
ENV PATH=/app/.venv/serving/bin:${PATH} \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    FLEETML_PROJECT=/app \
    FLEETML_HOME=/var/lib/fleetml
RUN python -c "import tensorrt; assert int(tensorrt.__version__.split('.')[0]) == 11; import cuda.bindings.runtime" \
    && python -c "import fleetml.serving.server, fleetml.serving.client, feature_repo.store"
USER fleetml
EXPOSE 50051 50052
HEALTHCHECK --interval=10s --timeout=10s --start-period=300s --retries=3 \
    CMD ["python", "-m", "fleetml.serving.ready"]
CMD ["python", "-m", "fleetml.serving", "--dir", "/var/lib/fleetml/serving", "--host", "0.0.0.0", "--port", "50051", \
     "--backend", "tensorrt"]
