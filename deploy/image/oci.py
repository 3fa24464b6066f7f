#!/usr/bin/env python3
"""Writes serin's image without a container engine: `oci.py BINARY CERTIFICATES OUT [ARCHITECTURE]`.

OUT gets `rootfs/` (the files as a container sees them) and `image/` (an OCI image layout, which skopeo, podman, crane and
docker load know). One layer: the binary, CA certificates, the user 65532. No time, no name of this machine is in it: the
same binary and certificates give the same digest, which is printed.
"""

import gzip
import hashlib
import io
import json
import pathlib
import shutil
import sys
import tarfile

# Everything is of the beginning of time; the same content is the same layer.
EPOCH = 0
USER = 65532


def files(binary, certificates):
    passwd = f"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/:/sbin/nologin\n"
    group = f"root:x:0:\nnonroot:x:{USER}:\n"
    return [
        ("etc", None, 0o755),
        ("etc/group", group.encode(), 0o444),
        ("etc/passwd", passwd.encode(), 0o444),
        ("etc/ssl", None, 0o755),
        ("etc/ssl/certs", None, 0o755),
        ("etc/ssl/certs/ca-certificates.crt", certificates, 0o444),
        ("serin", binary, 0o555),
    ]


def layer(content):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data, mode in content:
            entry = tarfile.TarInfo(name)
            entry.mode = mode
            entry.mtime = EPOCH
            if data is None:
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def write_rootfs(root, content):
    for name, data, mode in content:
        path = root / name
        if data is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.write_bytes(data)
        path.chmod(mode)
    # Where a container's engine, or the test of this image, mounts the kernel's file systems.
    for name in ["proc", "dev"]:
        (root / name).mkdir()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def write_image(folder, tar, architecture):
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(kind, data):
        name = digest(data)
        (blobs / name.removeprefix("sha256:")).write_bytes(data)
        return {"mediaType": kind, "digest": name, "size": len(data)}

    def document(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    packed = gzip.compress(tar, compresslevel=9, mtime=EPOCH)
    packed_layer = blob("application/vnd.oci.image.layer.v1.tar+gzip", packed)
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": f"{USER}:{USER}",
            "Entrypoint": ["/serin"],
            "Cmd": ["controller"],
            "ExposedPorts": {"8080/tcp": {}, "8090/tcp": {}},
            "Env": ["PATH=/", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
            "WorkingDir": "/",
            "Labels": {"org.opencontainers.image.title": "serin", "org.opencontainers.image.licenses": "Apache-2.0"},
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "deploy/image/oci.py"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("application/vnd.oci.image.config.v1+json", document(config)),
        "layers": [packed_layer],
    }
    entry = blob("application/vnd.oci.image.manifest.v1+json", document(manifest))
    entry["platform"] = {"architecture": architecture, "os": "linux"}
    (folder / "index.json").write_bytes(document({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_bytes(document({"imageLayoutVersion": "1.0.0"}))
    return entry["digest"], len(packed)


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    binary, certificates = (pathlib.Path(path).read_bytes() for path in sys.argv[1:3])
    out = pathlib.Path(sys.argv[3])
    architecture = sys.argv[4] if len(sys.argv) == 5 else "amd64"
    for name in ["rootfs", "image"]:
        shutil.rmtree(out / name, ignore_errors=True)
    content = files(binary, certificates)
    (out / "rootfs").mkdir(parents=True)
    write_rootfs(out / "rootfs", content)
    tar = layer(content)
    name, packed = write_image(out / "image", tar, architecture)
    print(json.dumps({"digest": name, "bytes": len(tar), "packedBytes": packed}))


main()
