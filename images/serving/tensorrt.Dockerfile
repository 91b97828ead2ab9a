# The model server with ONNX Runtime's TensorRT provider, on NVIDIA's base, which brings CUDA, cuDNN and TensorRT.
# Never built by us: it takes NVIDIA's registry, and a GPU to try it. Python there is 3.12, so the locks hold but for
# onnxruntime, in whose place comes onnxruntime-gpu of the same version.
#   DOCKER_BUILDKIT=1 docker build -f images/serving/tensorrt.Dockerfile -t fleetml/serving:tensorrt .
ARG BASE=nvcr.io/nvidia/tensorrt:25.06-py3

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home fleetml && mkdir -p /var/lib/fleetml && chown fleetml /var/lib/fleetml
WORKDIR /app
RUN python3 -m venv .venv/serving
COPY images/serving/requirements.txt images/serving/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    sed 's/^onnxruntime==/onnxruntime-gpu==/' images/serving/requirements.txt > /tmp/requirements.txt \
    && .venv/serving/bin/pip install --no-cache-dir --no-deps -r /tmp/requirements.txt && rm /tmp/requirements.txt
RUN echo /app/src > .venv/serving/lib/python3.12/site-packages/fleetml.pth
COPY images/images.toml images/
COPY feature_repo feature_repo
COPY src src
ENV PATH=/app/.venv/serving/bin:${PATH} \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    FLEETML_PROJECT=/app \
    FLEETML_HOME=/var/lib/fleetml
RUN python -c "import onnxruntime as ort; assert 'TensorrtExecutionProvider' in ort.get_available_providers()" \
    && python -c "import fleetml.serving.server, fleetml.serving.client, feature_repo.store"
USER fleetml
EXPOSE 50051 50052
HEALTHCHECK --interval=10s --timeout=10s --start-period=300s --retries=3 \
    CMD ["python", "-c", "from fleetml.serving.client import Client; raise SystemExit(not Client('127.0.0.1:50051').healthy())"]
CMD ["python", "-m", "fleetml.serving", "--dir", "/var/lib/fleetml/serving", "--host", "0.0.0.0", "--port", "50051"]
