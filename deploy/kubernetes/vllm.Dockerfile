# vLLM's official image with our code, which verifies the checkpoint and then becomes vLLM:
# docker build -f deploy/kubernetes/vllm.Dockerfile -t REGISTRY/signboard-vllm:VERSION .
FROM vllm/vllm-openai:v0.32.0
COPY . /signboard
WORKDIR /signboard
RUN python3 -m compileall -q /signboard
USER 10001
