# One image for every role: serve (default), work, migrate, sandbox, doctor.
# It runs as an unprivileged user, needs no writable file system but /tmp (and /data in development), and
# contains no secret: settings come from the environment or, for secrets, from files named by NAME_FILE.
# BASE_IMAGE: any image with Python 3.11 or newer as `python`; pin it by digest for a release.
ARG BASE_IMAGE=python:3.13-slim
# `source` needs neither a C compiler nor Debian's packages.
ARG CODE=compiled

FROM ${BASE_IMAGE} AS packages
# `otlp` adds the packages for OTLP_ENDPOINT.
ARG REQUIREMENTS=runtime
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements/runtime.txt requirements/otlp.txt /requirements/
# Exactly the listed packages, each file checked against its hash; only wheels, so that nothing is built here.
# pip is in a separate environment: the image contains no installer and no other programs.
RUN python -m venv /installer \
    && python -m venv --without-pip /opt/venv \
    && /installer/bin/pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r /requirements/${REQUIREMENTS}.txt \
    && find /opt/venv/bin ! -type d ! -name 'python*' -delete \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib

FROM packages AS source
WORKDIR /srv
COPY LICENSE THIRD_PARTY_NOTICES.md alembic.ini pyproject.toml ./
COPY migrations migrations
COPY app app
COPY sandbox sandbox
COPY dev dev

# The modules that convert events as machine code: a conversion takes a quarter less CPU, or more
# (docs/adr/0055-compiled-modules.md).
FROM source AS compiled
COPY requirements/compile.txt /requirements/
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && { test -e "$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
        || apt-get install -y --no-install-recommends python3-dev; } \
    && /installer/bin/pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r /requirements/compile.txt \
    && /opt/venv/bin/python -m dev.compiled /srv

FROM ${CODE} AS code

FROM ${BASE_IMAGE} AS program
RUN groupadd --gid 10001 conversions \
    && useradd --uid 10001 --gid conversions --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin conversions \
    && install -d -o conversions -g conversions -m 0700 /data
COPY --from=packages /opt/venv /opt/venv
WORKDIR /srv
COPY --from=code /srv .
RUN /opt/venv/bin/python -m compileall -q app sandbox dev migrations
# MALLOC_…: the C library keeps up to 16 MiB of freed memory, instead of asking the system for the memory of each
# request again (docs/evidence/performance.md, Memory).
ENV PATH=/opt/venv/bin:$PATH \
    MALLOC_ARENA_MAX=1 \
    MALLOC_MMAP_THRESHOLD_=33554432 \
    MALLOC_TRIM_THRESHOLD_=16777216 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    METRICS_PORT=9100 \
    DATA_DIR=/data
USER 10001:10001
EXPOSE 8000 9100
# A worker finishes its requests in flight: allow 45 seconds before SIGKILL.
STOPSIGNAL SIGTERM
# `health` queries the process in the container, whatever its role.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "app", "health"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]

# `docker build --target backup`: the program with Postgres' client programs, for `backup`. They must have the
# server's major version. Debian's package is used if it has this version, and else that of Postgres' own archive.
FROM program AS backup
ARG POSTGRES_MAJOR=18
USER root
RUN apt-get update \
    && { apt-cache show postgresql-client-${POSTGRES_MAJOR} > /dev/null 2>&1 \
        || { apt-get install -y --no-install-recommends ca-certificates postgresql-common \
            && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y; }; } \
    && apt-get install -y --no-install-recommends postgresql-client-${POSTGRES_MAJOR} \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o conversions -g conversions -m 0700 /backup
USER 10001:10001
HEALTHCHECK NONE
CMD ["backup", "/backup", "--follow"]

FROM program
# Last, because they change with every build.
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="amazon-conversions-destination" \
      org.opencontainers.image.description="The target of a journey's Send to Destinations node for the Amazon Conversions API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
