# serin as one static binary in an image without a shell.
FROM rust:1.95-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools && rm -rf /var/lib/apt/lists/* \
    && rustup target add x86_64-unknown-linux-musl
WORKDIR /serin
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY src src
COPY examples/agent examples/agent
COPY tests tests
RUN cargo build --release --locked --bin serin --target x86_64-unknown-linux-musl

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /serin/target/x86_64-unknown-linux-musl/release/serin /serin
USER 65532:65532
EXPOSE 8080 8090
ENTRYPOINT ["/serin"]
CMD ["controller"]
