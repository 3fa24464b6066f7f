# The example agent of this repository, for development.
FROM rust:1.95-slim AS build
WORKDIR /serin
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY src src
COPY examples examples
COPY tests tests
RUN cargo build --locked --example agent

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /serin/target/debug/examples/agent /agent
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/agent"]
