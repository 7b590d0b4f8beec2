# syntax=docker/dockerfile:1
# One image for every role: serve (default), work, migrate, sandbox, doctor.
# It runs as an unprivileged user, needs no writable file system but /tmp (and /data in development), and
# holds no secret: settings come from the environment.

FROM python:3.13-slim AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements/runtime.txt /requirements.txt
# Exactly what is listed, each file checked against its hash; wheels only, so that nothing is built here.
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes --only-binary :all: -r /requirements.txt \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib

FROM python:3.13-slim
RUN groupadd --gid 10001 conversions \
    && useradd --uid 10001 --gid conversions --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin conversions \
    && install -d -o conversions -g conversions -m 0700 /data
COPY --from=packages /opt/venv /opt/venv
WORKDIR /srv
COPY LICENSE alembic.ini ./
COPY migrations migrations
COPY app app
COPY sandbox sandbox
COPY dev dev
RUN /opt/venv/bin/python -m compileall -q app sandbox dev migrations
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    DATA_DIR=/data
USER 10001:10001
EXPOSE 8000
# Longer than a request to Amazon may take: a worker finishes what it sent.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('PORT', 8000)}/health/ready\", timeout=4)"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]
