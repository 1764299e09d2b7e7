# All five programs in one image of some 100 MB; compose.yaml names the one that a container runs.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# The caches are the builder's and stay out of the image. Debug information would triple the size; panics name file and
# line without it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bins \
    && for program in muster muster-producer muster-mapper muster-writer muster-sandbox; do \
           install -D --strip "target/release/$program" "/programs/$program" || exit 1; \
       done

FROM debian:bookworm-slim
# The roots that outside systems' certificates are checked against.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /programs/ /usr/local/bin/
# A number, so that an orchestrator can see that it is not root. It owns no file.
USER 10001:10001
ENV MUSTER_CONFIG=/etc/muster/muster.toml
# Metrics and health pages, where the configuration says so.
EXPOSE 9464
CMD ["muster", "--help"]
