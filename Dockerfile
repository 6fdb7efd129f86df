# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY gateway gateway
COPY config/presets config/presets
RUN python3 -m venv /opt/quota-gateway \
    && /opt/quota-gateway/bin/pip install --no-cache-dir '.[embedded]'

FROM python:3.11-slim
LABEL org.opencontainers.image.title="quota-gateway" \
      org.opencontainers.image.description="Reverse proxy that enforces storage quotas"
RUN useradd --system --uid 10001 --home-dir /var/lib/quota-gateway --create-home quota-gateway
COPY --from=build /opt/quota-gateway /opt/quota-gateway
COPY config/gateway.toml /etc/quota-gateway/gateway.toml
ENV PATH=/opt/quota-gateway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GATEWAY_STATE_DIR=/var/lib/quota-gateway \
    GATEWAY_LISTEN=0.0.0.0:8080 \
    GATEWAY_LOG_FORMAT=json
USER 10001
VOLUME /var/lib/quota-gateway
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/readyz', timeout=2)"]
ENTRYPOINT ["quota-gateway"]
CMD ["serve", "--config", "/etc/quota-gateway/gateway.toml"]
