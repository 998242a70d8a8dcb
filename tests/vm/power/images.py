"""Small images for the machine: archives to load, and a registry that speaks through standard input and output."""

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import sys
import tarfile

COUNT = 5
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data, mode, link in entries:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.linkname = len(data), mode, link
            entry.type = tarfile.SYMTYPE if link else tarfile.REGTYPE
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def many(name, seed):
    """A layer of small files and a larger one that does not compress."""
    source = random.Random(seed)
    small = [(f"{name}/{number % 7}/{number}", source.randbytes(source.randrange(2000)), 0o644, "") for number in range(80)]
    return layer(small + [(f"{name}/large", source.randbytes(300_000), 0o644, ""), (f"{name}/name", name.encode(), 0o644, "")])


def busybox():
    path = shutil.which("busybox") or sys.exit("power: busybox-static is missing")
    with open(path, "rb") as file:
        program = file.read()
    names = ("sh", "true", "sleep", "cat", "echo", "mkdir", "dd", "sync", "seq")
    return layer([("bin/busybox", program, 0o755, "")] + [(f"bin/{name}", b"", 0o777, "busybox") for name in names])


def image(layers):
    config = {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
              "rootfs": {"type": "layers", "diff_ids": [sha256(each) for each in layers]}}
    return json.dumps(config).encode(), layers


def archive(path, images):
    """A file for `rbox load`: images by name."""
    members = {}
    manifest = []
    for name, (config, layers) in images.items():
        members[sha256(config)[7:] + ".json"] = config
        members.update((sha256(each)[7:] + ".tar", each) for each in layers)
        manifest.append({"Config": sha256(config)[7:] + ".json", "RepoTags": [name],
                         "Layers": [sha256(each)[7:] + ".tar" for each in layers]})
    members["manifest.json"] = json.dumps(manifest).encode()
    with open(path, "wb") as file:
        file.write(layer([(name, data, 0o644, "") for name, data in members.items()]))


def registry(folder, images):
    """Files that `serve` answers with: one for each path, the media type in its first line."""
    def put(path, kind, data):
        with open(os.path.join(folder, path.replace("/", "_").replace(":", "_")), "wb") as file:
            file.write(kind.encode() + b"\n" + data)

    put("/v2/", "application/json", b"{}")
    for name, (config, layers) in images.items():
        def blob(data, kind, name=name):
            put(f"/v2/{name}/blobs/{sha256(data)}", "application/octet-stream", data)
            return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": sha256(data), "size": len(data)}

        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": blob(config, "config.v1+json"),
            "layers": [blob(gzip.compress(each, 1, mtime=0), "layer.v1.tar+gzip") for each in layers]}).encode()
        for reference in ("1", sha256(manifest)):
            put(f"/v2/{name}/manifests/{reference}", MANIFEST, manifest)


def serve(folder):
    """One connection of the machine's: qemu starts this for each."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        method, path, _ = line.decode().split(" ", 2)
        while requests.readline() not in (b"\r\n", b""):
            pass
        kind, data, status = "text/plain", b"", "404 Not Found"
        file = os.path.join(folder, path.replace("/", "_").replace(":", "_"))
        if os.path.exists(file):
            with open(file, "rb") as content:
                kind, data, status = content.readline().decode().strip(), content.read(), "200 OK"
        answers.write(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n".encode())
        answers.write(data if method == "GET" else b"")
        answers.flush()


def write(stage):
    """Everything below `stage`: archives in archives/, the registry's files in registry/."""
    archives, remote = os.path.join(stage, "archives"), os.path.join(stage, "registry")
    os.makedirs(archives)
    os.makedirs(remote)
    base = busybox()
    own = layer([("etc/own", b"own", 0o644, "")])
    archive(os.path.join(archives, "base.tar"), {"localhost/base:1": image([base, own])})
    # The other way round: no layer of theirs is one of the base image.
    apps = {f"localhost/app:{number}": image([own, base, many("shared", 99), many(f"app{number}", number)])
            for number in range(1, COUNT + 1)}
    for number, (name, content) in enumerate(apps.items(), 1):
        archive(os.path.join(archives, f"app{number}.tar"), {name: content})
    archive(os.path.join(archives, "all.tar"), apps)
    pulled = {name.replace("localhost/", "").replace(":", ""): content for name, content in apps.items()}
    registry(remote, pulled)
    for file in os.listdir(archives):
        os.chmod(os.path.join(archives, file), 0o644)
