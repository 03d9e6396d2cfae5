# The stages before the server: data, training, merge. The server itself runs in vLLM's official image.
FROM python:3.11-slim-bookworm

# triton compiles its launchers with gcc
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY requirements/gpu.txt requirements/sign.txt /requirements/
RUN pip install --no-cache-dir --no-deps -r /requirements/gpu.txt -r /requirements/sign.txt

ENV HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /signboard
