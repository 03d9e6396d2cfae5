# The gateway with its code, for a cluster: docker build -f deploy/kubernetes/gateway.Dockerfile -t REGISTRY/signboard-gateway:VERSION .
# Build `signboard-stages` first (Dockerfile). runs/, models/ and .env stay outside: .dockerignore.
FROM signboard-stages
COPY . /signboard
RUN python -m compileall -q /signboard
USER 10001
