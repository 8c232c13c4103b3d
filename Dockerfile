ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
RUN python -m venv --without-pip /opt/watcher
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
# Wheels only: a source distribution would run its own code here and might want a compiler. What builds the package is
# pinned like what runs, and stays in this stage.
RUN pip --python /opt/watcher/bin/python install --no-compile --require-hashes --no-deps --only-binary :all: -r requirements.lock \
    && pip install --root-user-action ignore --require-hashes --no-deps --only-binary :all: -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY watcher watcher
RUN pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
    && pip --python /opt/watcher/bin/python install --no-compile --no-index --no-deps /wheels/*.whl

FROM ${BASE}
# Group 0 may write, because OpenShift and its like run an image as any user of that group.
RUN install -d -o 10001 -g 0 -m 0770 /data
COPY --from=build /opt/watcher /opt/watcher
# On a read-only file system Python would compile anew at every start. Importing everything once keeps the bytecode of
# what is used, less than half of all there is, and proves the image whole. Those that are named are imported late.
RUN /opt/watcher/bin/python -c 'import importlib, pkgutil, watcher; \
    late = ["apscheduler.executors.asyncio", "encodings.ascii", "encodings.idna", "encodings.unicode_escape", \
        "encodings.utf_16_le"]; \
    modules = [found.name for found in pkgutil.walk_packages(watcher.__path__, "watcher.")]; \
    [importlib.import_module(name) for name in modules + late if name != "watcher.__main__"]'
ENV PATH=/opt/watcher/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    WATCHER_DATABASE=/data/watcher.db \
    WATCHER_HTTP_HOST=0.0.0.0
# A config.toml that is mounted here is found without being named.
WORKDIR /etc/watcher
VOLUME /data
USER 10001:0
STOPSIGNAL SIGTERM
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=10s --start-period=1m --retries=3 CMD ["watcher", "healthcheck"]
ENTRYPOINT ["watcher"]
CMD ["run"]

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="watcher" \
      org.opencontainers.image.description="Tells people, in Slack or by webhook, when a Dynamiq agent run waits for a human." \
      org.opencontainers.image.source="https://github.com/dynamiq-ai/watcher" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
