# The image: the executable, the libraries it is linked with, the web's certificate authorities, and nothing else; no shell, no
# package manager. It is put together from Debian packages, which stay listed for scanners.
#
#   docker build --tag images.acme.example/hallpass:0.1.0 .
#
# Tags are for people, digests are what is used. To update one, ask for the tag's digest (docker buildx imagetools inspect).
ARG RUST_IMAGE=rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082
ARG DEBIAN_IMAGE=debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

FROM ${RUST_IMAGE} AS build
# Versions are those of the digest's Debian release, with its security updates.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libssl-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin hallpass \
    && install -D target/release/hallpass /out/hallpass

FROM ${DEBIAN_IMAGE} AS root
# What `ldd` says the executable needs; scripts/image.sh compares.
ARG PACKAGES="libc6 libgcc-s1 libssl3"
WORKDIR /packages
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && read -ra packages <<<"$PACKAGES" \
    && apt-get download "${packages[@]}" \
    && mkdir -p /root-of-image/var/lib/dpkg/status.d \
    && for package in *.deb; do \
        dpkg-deb --extract "$package" /root-of-image \
        && dpkg-deb --field "$package" >"/root-of-image/var/lib/dpkg/status.d/${package%%_*}" || exit 1; \
    done \
    && rm -rf /root-of-image/usr/share/{lintian,locale,man} \
    && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /root-of-image/etc/ssl/certs/ca-certificates.crt \
    && printf 'hosts: files dns\n' >/root-of-image/etc/nsswitch.conf \
    && printf 'root:x:0:0::/:/none\nhallpass:x:65532:65532::/:/none\n' >/root-of-image/etc/passwd \
    && printf 'root:x:0:\nhallpass:x:65532:\n' >/root-of-image/etc/group \
    && install -d -m 1777 /root-of-image/tmp \
    && install -d -m 0700 -o 65532 -g 65532 /root-of-image/var/lib/hallpass \
    && install -d -m 0755 /root-of-image/etc/hallpass \
    && rm -rf /var/lib/apt/lists/*

FROM scratch
LABEL org.opencontainers.image.title="Hallpass" \
    org.opencontainers.image.description="A just-in-time credential broker for AI agents" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=root /root-of-image/ /
COPY --from=build /out/hallpass /usr/bin/hallpass
COPY LICENSE /usr/share/doc/hallpass/LICENSE
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /
EXPOSE 8600 9600
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/hallpass"]
CMD ["serve", "--config", "/etc/hallpass/config/hallpass.toml"]
