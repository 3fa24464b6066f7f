# serin as one static binary in an image without a shell, for amd64 and arm64. deploy/image/build.sh makes the same image
# on a machine without a container engine, and tries it.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /serin
# The binary carries the list of what it was made of, for scanners (cargo audit bin, trivy, syft).
RUN cargo install --locked --quiet cargo-auditable@0.7.7
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY src src
COPY examples examples
COPY tests tests
# Linked statically, and without the paths of this machine, so that two builds are equal. A process that ends at a panic
# needs no tables to unwind by, and relocations of a static binary can be packed: together more than a mebibyte.
ENV RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs -C force-unwind-tables=no --remap-path-prefix=/serin=. --remap-path-prefix=/usr/local/cargo=cargo"
RUN cargo auditable build --release --locked --bin serin --target "$(uname -m)-unknown-linux-gnu" \
    && cp "target/$(uname -m)-unknown-linux-gnu/release/serin" /serin/serin

# Certificates and a user, nothing else: no shell, no package manager, no libc.
FROM gcr.io/distroless/static-debian12:nonroot
LABEL org.opencontainers.image.title="serin" \
      org.opencontainers.image.description="Progressive delivery for Kubernetes in one small binary" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build --chmod=0555 /serin/serin /serin
USER 65532:65532
EXPOSE 8080 8090
ENTRYPOINT ["/serin"]
CMD ["controller"]
