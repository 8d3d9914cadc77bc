# Server, gateway and sample upstream: one binary.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/symbolon --create-home symbolon
COPY --from=build /src/target/dist/symbolon /usr/local/bin/symbolon
USER symbolon
WORKDIR /var/lib/symbolon
ENTRYPOINT ["symbolon"]
