# The image of every role and of the simulated sensor. `make compose` builds it from source, on public images:
#
#   DOCKER_BUILDKIT=1 docker build --tag vigia .
#
# With --build-arg BINARIES=prebuilt it takes what `make build` has made on a Debian 12. The old builder, which
# is docker build without BuildKit, would go through both stages.
ARG BINARIES=source

FROM rust:1-bookworm AS source
RUN apt-get update \
 && apt-get install --yes --no-install-recommends cmake libsodium-dev ninja-build pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --locked --release --package vigia \
 && cd sensor-cpp && cmake --preset release && cmake --build --preset release --target vigia-sensor \
 && mv ../target/release/vigia ../build/sensor-release/vigia-sensor / \
 && rm -rf ../target ../build

FROM scratch AS prebuilt
COPY target/release/vigia build/sensor-release/vigia-sensor /

FROM ${BINARIES} AS binaries

FROM debian:bookworm-slim
COPY --from=binaries /vigia /vigia-sensor /usr/local/bin/
# A new volume takes over owner and mode of the directory on which it is mounted. What is mounted below a
# read-only volume must be there before.
RUN for dir in /site /site/run /site/devices /site/data /site/keys \
      /site/data/broker /site/data/verify /site/data/transform /site/data/store /site/data/alert /site/data/modbus \
      /site/data/prometheus /site/data/grafana /site/keys/prometheus /site/keys/grafana \
      /site/keys/ca /site/keys/inspector \
      /site/keys/broker /site/keys/verify /site/keys/transform /site/keys/store /site/keys/alert /site/keys/modbus \
      /sensor /sensors /sensors/1 /sensors/2; \
    do install --directory --owner=10001 --group=10001 --mode=0700 $dir; done
USER 10001:10001
CMD ["vigia", "--help"]
