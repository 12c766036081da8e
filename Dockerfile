# The service for processors, without torch. Not built by CI: see docs/service.md.
# For an image that never changes, name one by its digest: --build-arg BASE=python@sha256:…
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY pyproject.toml hatch_build.py README.md LICENSE NOTICE ./
COPY src src
RUN python -m venv /opt/facevoice \
    && /opt/facevoice/bin/pip install --no-cache-dir '.[serve,postgres]'

FROM ${BASE}
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin facevoice \
    && install -d -o facevoice -g facevoice -m 700 /data
COPY --from=build /opt/facevoice /opt/facevoice
ENV PATH=/opt/facevoice/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8000/health/ready', timeout=5)"]
ENTRYPOINT ["facevoice"]
# Without keys it ends with an error: name them by --keys, or by FACEVOICE_SERVICE_KEYS.
CMD ["serve", "--host", "0.0.0.0", "--data", "/data"]
