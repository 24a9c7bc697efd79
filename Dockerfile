# gristmill in a container: nobody's user, a root that may be read-only, kernels compiled ahead.
#
#   docker build -t gristmill .
#   docker run --rm --read-only --tmpfs /tmp -v "$PWD:/data" --user "$(id -u):$(id -g)" gristmill run
#
# Everything is installed from requirements-image.lock, with hashes; nothing is downloaded when it runs.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
# What the kernels are compiled for: any x86-64 made since 2013. Give "generic" for another kind of processor.
ARG NUMBA_CPU_NAME=x86-64-v3
ENV NUMBA_CPU_NAME=${NUMBA_CPU_NAME} \
    NUMBA_CPU_FEATURES="" \
    NUMBA_CACHE_DIR=/opt/gristmill/kernels
WORKDIR /build
COPY requirements-image.lock ./
RUN python -m venv --without-pip /opt/gristmill \
    && python -m pip --python /opt/gristmill/bin/python install --no-cache-dir --require-hashes -r requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m pip --python /opt/gristmill/bin/python install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/gristmill/bin/gristmill warmup

FROM python:${PYTHON}-slim
ARG NUMBA_CPU_NAME=x86-64-v3
RUN useradd --uid 65532 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin gristmill
COPY --from=build /opt/gristmill /opt/gristmill
# The kernels are read where they were compiled, also where nothing can be written (src/gristmill/kernels/frozen.py).
ENV PATH=/opt/gristmill/bin:${PATH} \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CPU_NAME=${NUMBA_CPU_NAME} \
    NUMBA_CPU_FEATURES="" \
    NUMBA_CACHE_DIR=/opt/gristmill/kernels \
    NUMBA_CACHE_LOCATOR_CLASSES=gristmill.kernels.frozen.Frozen,UserWideCacheLocator \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /data
USER 65532:65532
ENTRYPOINT ["gristmill"]
CMD ["--help"]
